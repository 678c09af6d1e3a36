//! The tags of a backend, encoded once for all envelopes that carry them.

use weir_envelope::encode::Writer;

/// The tags of a backend, encoded once for all envelopes that carry them. Whoever has a backend keeps these with it.
#[derive(Debug, Default)]
pub struct AppTags {
    /// Encoded tags of an access log line.
    pub(crate) of_line: Box<[u8]>,
    /// Encoded tags of a timer.
    pub(crate) of_timer: Box<[u8]>,
    /// The tag `source_id`, for requests to backends without an app.
    pub(crate) source_id: Box<str>,
}

/// Tags that a line sets itself.
const OF_LINE: [&str; 3] = ["origin", "source_id", "source_type"];

/// Tags that a timer sets itself.
const OF_TIMER: [&str; 18] = [
    "origin",
    "source_id",
    "request_id",
    "peer_type",
    "method",
    "uri",
    "remote_address",
    "user_agent",
    "status_code",
    "content_length",
    "routing_instance_id",
    "forwarded",
    "trace_id",
    "span_id",
    "route",
    "backend",
    "failed_attempts",
    "router_error",
];

impl AppTags {
    /// Encodes the tags of a registration. A tag that an envelope sets itself is left out there.
    #[must_use]
    pub fn new<'t>(tags: impl Iterator<Item = (&'t str, &'t str)> + Clone) -> Self {
        let source_id = tags.clone().find(|(name, _)| *name == "source_id");
        Self {
            of_line: encoded(tags.clone(), &OF_LINE),
            of_timer: encoded(tags, &OF_TIMER),
            source_id: source_id.map_or("", |(_, id)| id).into(),
        }
    }
}

fn encoded<'t>(tags: impl Iterator<Item = (&'t str, &'t str)>, except: &[&str]) -> Box<[u8]> {
    let mut encoded = Vec::new();
    Writer::new(&mut encoded).tags(tags.filter(|(name, _)| !except.contains(name)));
    encoded.into()
}
