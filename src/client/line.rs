//! Writes log lines as envelopes.

use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_service::clock;

/// The fields that all lines of one producer share.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) source_id: String,
    pub(crate) instance_id: String,
    /// The tag `source_type`, which clients show in brackets.
    pub(crate) source_type: String,
}

impl Line {
    /// Appends the envelope of one line.
    pub(crate) fn write(&self, envelope: &mut Vec<u8>, timestamp: i64, payload: &[u8], stream: Stream) {
        let mut writer = Writer::new(envelope);
        writer
            .timestamp(timestamp)
            .source_id(&self.source_id)
            .instance_id(&self.instance_id);
        writer
            .tag("origin", "weir")
            .tag("source_type", &self.source_type)
            .log(payload, stream);
    }
}

/// The time stamps of one producer. They strictly increase, also if the clock does not, so that sorting by time keeps the order of
/// the lines.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    last: i64,
}

impl Sequence {
    /// Returns the time stamp of the next line, in nanoseconds since 1970.
    pub(crate) fn next(&mut self) -> i64 {
        self.at(clock::now_nanos())
    }

    fn at(&mut self, now: i64) -> i64 {
        self.last = now.max(self.last.saturating_add(1));
        self.last
    }
}

#[cfg(test)]
mod tests {
    use weir_envelope::view::{EnvelopeView, Message};

    use super::*;

    /// Time stamps increase if the clock stands still or goes back.
    #[test]
    fn stamps_always_grow() {
        let mut sequence = Sequence::default();
        let stamps: Vec<i64> = [100, 100, 90, 200, 199]
            .into_iter()
            .map(|now| sequence.at(now))
            .collect();
        assert_eq!(stamps, [100, 101, 102, 200, 201]);
    }

    /// The payload is kept byte for byte, with the tags that clients read.
    #[test]
    fn a_line_is_an_envelope() {
        let line = Line {
            source_id: "web".to_owned(),
            instance_id: "1".to_owned(),
            source_type: "APP".to_owned(),
        };
        let mut bytes = Vec::new();
        line.write(&mut bytes, 7, b"\xff\r", Stream::Err);
        let view = EnvelopeView::new(&bytes);
        assert_eq!(
            (view.timestamp(), view.source_id(), view.instance_id()),
            (7, "web", "1")
        );
        assert_eq!(view.tag("source_type").as_deref(), Some("APP"));
        assert!(matches!(
            view.message(),
            Message::Log {
                payload: b"\xff\r",
                stream: Stream::Err
            }
        ));
    }
}
