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
    "attempts",
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

/// What a short tag begins with: the key of `Envelope.tags`, a map whose entries are messages.
const ENTRY: u8 = 9 << 3 | 2;
/// What the name and the value of a tag begin with.
const NAME: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;

/// Appends a tag as [`Writer::tag`] does. Nearly all tags are so short that each length is one byte: then there are few steps.
#[inline]
pub(crate) fn put_tag(out: &mut Vec<u8>, name: &str, value: &str) {
    let lengths = [4 + name.len() + value.len(), name.len(), value.len()].map(|length| i8::try_from(length).ok());
    let [Some(entry), Some(name_len), Some(value_len)] = lengths else {
        Writer::new(out).tag(name, value);
        return;
    };
    let [entry, name_len, value_len] = [entry, name_len, value_len].map(i8::cast_unsigned);
    out.reserve(2 + usize::from(entry));
    out.extend_from_slice(&[ENTRY, entry, NAME, name_len]);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(&[VALUE, value_len]);
    out.extend_from_slice(value.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short and long names and values, and the lengths at which one byte is not enough.
    #[test]
    fn a_tag_is_what_the_writer_writes() {
        let text = "x".repeat(300);
        for name in [0, 1, 60, 127, 128, 300] {
            for value in [0, 1, 62, 63, 64, 122, 123, 124, 127, 128, 300] {
                let [mut own, mut expected] = [Vec::new(), Vec::new()];
                put_tag(&mut own, &text[..name], &text[..value]);
                Writer::new(&mut expected).tag(&text[..name], &text[..value]);
                assert_eq!(own, expected, "{name} {value}");
            }
        }
    }

    /// A tag that an envelope sets itself is not among those of the backend.
    #[test]
    fn no_tag_is_written_twice() {
        let tags = [
            ("component", "a"),
            ("source_type", "b"),
            ("method", "c"),
            ("source_id", "d"),
        ];
        let encoded = |tags: &[(&str, &str)]| {
            let mut out = Vec::new();
            Writer::new(&mut out).tags(tags.iter().copied());
            out
        };
        let app = AppTags::new(tags.into_iter());
        assert_eq!(*app.of_line, encoded(&[tags[0], tags[2]]));
        assert_eq!(*app.of_timer, encoded(&[tags[0], tags[1]]));
        assert_eq!(&*app.source_id, "d");
    }
}
