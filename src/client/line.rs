//! Log lines as envelopes.

use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_service::clock;

/// What all lines of one producer have in common.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) source_id: String,
    pub(crate) instance_id: String,
    /// As clients show it in brackets.
    pub(crate) source_type: String,
}

impl Line {
    /// Appends one envelope.
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

/// Time stamps of one producer: the time, but never the same twice nor one that goes back, so that sorting by time keeps
/// the order of the lines.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    last: i64,
}

impl Sequence {
    /// The stamp of the next line.
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

    /// The clock may stand still or go back: the stamps go on.
    #[test]
    fn stamps_always_grow() {
        let mut sequence = Sequence::default();
        let stamps: Vec<i64> = [100, 100, 90, 200, 199]
            .into_iter()
            .map(|now| sequence.at(now))
            .collect();
        assert_eq!(stamps, [100, 101, 102, 200, 201]);
    }

    /// Bytes go in as they are, with the names that clients look for.
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
