//! Libraries that only one crate may name, and crates that may not name what does input and output.

/// A kind of library and who may name it.
struct Owned {
    /// What the names of its packages begin with, or contain if they begin with `*`.
    packages: &'static [&'static str],
    /// The crates that may name it.
    owners: &'static [&'static str],
}

/// So that a library can be changed, and is built, in one place.
const OWNED: &[Owned] = &[
    Owned {
        packages: &["datafusion"],
        owners: &["log-cache/query"],
    },
    Owned {
        packages: &["sqlx"],
        owners: &["platform/lib/db"],
    },
    Owned {
        packages: &["object_store"],
        owners: &["platform/lib/blobstore"],
    },
    Owned {
        packages: &["async-nats", "nats"],
        owners: &["platform/lib/nats-client"],
    },
    Owned {
        packages: &["russh"],
        owners: &["platform/ssh-proxy", "platform/sshd"],
    },
    Owned {
        packages: &["*yaml", "*saphyr"],
        owners: &["platform/lib/config"],
    },
];

/// Crates whose outcome depends on what they are given alone, so that a test or a simulation needs nothing else.
const PURE: &[&str] = &[
    "doppler/router",
    "platform/gorouter/table",
    "platform/lib/config",
    "platform/lib/envelope",
    "platform/lib/error",
    "platform/lib/jose",
    "platform/lib/syslog",
];

/// What the names of packages begin with that do input and output.
const IMPURE: &[&str] = &[
    "axum", "hyper", "sqlx", "tokio", "tonic", "weir-db", "weir-net", "weir-rpc",
];

/// Why the crate at `path` may not name `package`, in its sources or its tests.
pub(super) fn refused(path: &str, package: &str) -> Option<String> {
    let owned = OWNED.iter().find(|owned| owned.is(package))?;
    (!owned.owners.contains(&path)).then(|| format!("only `{}` may", owned.owners.join("`, `")))
}

/// Why the crate at `path` may not name `package` in its sources.
pub(super) fn impure(path: &str, package: &str) -> Option<&'static str> {
    let is_impure = IMPURE.iter().any(|impure| begins_with(package, impure));
    (PURE.contains(&path) && is_impure).then_some("a pure crate knows no runtime, no network and no database")
}

impl Owned {
    fn is(&self, package: &str) -> bool {
        self.packages.iter().any(|pattern| match pattern.strip_prefix('*') {
            Some(part) => package.contains(part),
            None => begins_with(package, pattern),
        })
    }
}

/// Whether `package` is `family`, or one of its parts such as `family-core`.
fn begins_with(package: &str, family: &str) -> bool {
    package
        .strip_prefix(family)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
}
