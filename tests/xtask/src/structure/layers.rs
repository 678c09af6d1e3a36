//! Who may use whom: the two columns of `platform/lib`, and the crates of each service.

/// Crates from the bottom up; crates of one row do not know each other.
type Rows = &'static [&'static [&'static str]];

/// The base column of `platform/lib`: knows no envelope. A crate of `platform/lib` that stands in no row is of the base, above
/// all that stand in one.
const BASE: Rows = &[
    &["error", "config/derive"],
    &["files"],
    &["config"],
    &["tls", "service"],
    &["net"],
    &["jose", "db"],
    &["auth", "nats-client", "uaa-client"],
    &["component"],
];

/// The log column of `platform/lib`: what carries envelopes. It may use all of the base.
const LOG: Rows = &[
    &["proto"],
    &["envelope"],
    &["flow"],
    &["syslog", "telemetry"],
    &["rpc"],
    &["applog", "drain"],
];

/// The services of the log plane, whose crates use the log column as well as the base, by their folders; a folder without rows is
/// one crate. All other services use the base only.
const LOG_PLANE: &[(&str, Rows)] = &[
    (
        "agents",
        &[&["lib"], &["binding-cache", "forwarder", "loggregator", "syslog"]],
    ),
    ("doppler", &[&["router"], &["server"]]),
    ("log-cache", &[&["store"], &["query"], &["server", "syslog"]]),
    ("platform/gorouter", &[&["table"], &["proxy"]]),
    ("platform/tcp-router", &[]),
    ("rlp", &[&["gateway", "server"]]),
    ("traffic-controller", &[&["server"]]),
];

/// The other services that have several crates, by their folders.
const PLATFORM: &[(&str, Rows)] = &[("platform/uaa", &[&["store"], &["core"], &["server"]])];

/// The column or layer of a crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place<'p> {
    /// The base column, in this row; `None` if it has none.
    Base(Option<usize>),
    /// The log column, in this row.
    Log(usize),
    /// A service.
    Service(Service<'p>),
    /// The program.
    Root,
    /// A crate of the tests.
    Tests,
}

/// A crate of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Service<'p> {
    /// The folder of the service.
    folder: &'p str,
    /// The row among the crates of the service; `None` if it has none.
    row: Option<usize>,
    /// Whether it is of the log plane.
    carries_envelopes: bool,
}

impl<'p> Place<'p> {
    /// The place of the crate at `path`, relative to the workspace's root.
    pub(super) fn of(path: &'p str) -> Self {
        if path.is_empty() {
            Self::Root
        } else if path.starts_with("tests/") {
            Self::Tests
        } else if let Some(name) = path.strip_prefix("platform/lib/") {
            row_of(LOG, name).map_or(Self::Base(row_of(BASE, name)), Self::Log)
        } else {
            Self::Service(Service::of(path))
        }
    }
}

impl<'p> Service<'p> {
    fn of(path: &'p str) -> Self {
        let listed = |services: &'static [(&str, Rows)]| {
            services.iter().find_map(|(folder, rows)| {
                let row = match path.strip_prefix(folder)? {
                    "" => None,
                    below => row_of(rows, below.strip_prefix('/')?),
                };
                Some((&path[..folder.len()], row))
            })
        };
        let (folder, row, carries_envelopes) = match (listed(LOG_PLANE), listed(PLATFORM)) {
            (Some((folder, row)), _) => (folder, row, true),
            (_, Some((folder, row))) => (folder, row, false),
            (None, None) => (path, None, false),
        };
        Self {
            folder,
            row,
            carries_envelopes,
        }
    }
}

fn row_of(rows: Rows, name: &str) -> Option<usize> {
    rows.iter().position(|row| row.contains(&name))
}

/// Whether the crate at path `from` may depend on the one at path `to`; if not, why.
pub(super) fn may_use(from: &str, to: &str) -> Result<(), &'static str> {
    let up = "that points up";
    let allowed = |allowed: bool, reason| if allowed { Ok(()) } else { Err(reason) };
    match (Place::of(from), Place::of(to)) {
        (Place::Tests, _) => Ok(()),
        (_, Place::Tests | Place::Root) | (Place::Base(_) | Place::Log(_), Place::Service(_)) => Err(up),
        (Place::Root, _) | (Place::Service(_) | Place::Log(_), Place::Base(_)) => Ok(()),
        // One that has no row is above all that have one.
        (Place::Base(from), Place::Base(to)) => allowed(to.is_some_and(|to| from.is_none_or(|from| to < from)), up),
        (Place::Base(_), Place::Log(_)) => Err("the base knows no envelope"),
        (Place::Log(from), Place::Log(to)) => allowed(to < from, up),
        (Place::Service(from), Place::Log(_)) => allowed(
            from.carries_envelopes,
            "a service outside of the log plane knows no envelope",
        ),
        (Place::Service(from), Place::Service(to)) if from.folder == to.folder => {
            allowed(matches!((from.row, to.row), (Some(from), Some(to)) if to < from), up)
        }
        (Place::Service(_), Place::Service(_)) => {
            Err("services meet through `platform/lib/*-api` and client crates only")
        }
    }
}
