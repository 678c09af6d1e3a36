//! What must hold of syslog.

use weir_envelope::batch::Batch;
use weir_envelope::view::EnvelopeView;
use weir_syslog::decode::{Decoder, Fault, Item};
use weir_syslog::envelope::{Mapper, Refused, to_envelope};
use weir_syslog::read::parse;
use weir_syslog::{Formatter, Framing};

/// Longest message that the streams here may have.
const MAX_MESSAGE: usize = 512;

/// A message: what becomes an envelope is a valid one, by either way, and a message; else nothing is appended.
pub fn read(bytes: &[u8]) {
    let mut mapper = Mapper::new();
    let parsed = parse(bytes);
    // The second time the mapper knows the source.
    for _ in 0..2 {
        let mut envelope = b"before".to_vec();
        match mapper.map(bytes, 17, &mut envelope) {
            Ok(()) => {
                let envelope = &envelope[6..];
                assert!(Batch::from_envelope(envelope).is_ok());
                let message = parsed.expect("what is mapped can be parsed");
                let mut again = Vec::new();
                if message.header.timestamp.is_some() {
                    to_envelope(&message, &mut again).expect("what one way maps the other does too");
                    assert_eq!(envelope, again);
                }
            }
            Err(refused) => {
                assert_eq!(envelope, b"before");
                assert!(parsed.is_err() || matches!(refused, Refused::Unmappable(_)));
            }
        }
    }
    if let Ok(message) = parsed {
        for element in message.data.elements() {
            let values = element.parameters().map(|parameter| parameter.value().len());
            assert!(values.sum::<usize>() <= bytes.len());
        }
    }
}

/// A stream: what is cut out of it does not depend on how it comes, and what is left over is bounded.
pub fn frames(bytes: &[u8]) {
    for framing in [Framing::OctetCounted, Framing::NonTransparent] {
        let whole = decode(framing, bytes, bytes.len());
        for step in [1, 7] {
            assert_eq!(decode(framing, bytes, step), whole);
        }
        assert!(whole.iter().flatten().all(|message| message.len() <= MAX_MESSAGE));
    }
}

/// An envelope: its messages are RFC 5424, whatever the framing they are found again, and each is an envelope again.
pub fn write(bytes: &[u8]) {
    let mut formatter = Formatter::new("host", true);
    let (mut bare, mut ends) = (Vec::new(), Vec::new());
    let view = EnvelopeView::new(bytes);
    let Ok(count) = formatter.write(view, Framing::None, &mut bare, &mut ends) else {
        assert!(bare.is_empty() && ends.is_empty());
        return;
    };
    assert_eq!(ends.len(), count as usize);
    let (mut start, mut messages) = (0, Vec::new());
    for end in ends {
        let message = &bare[start..end as usize];
        assert!(message.ends_with(b"\n"));
        let parsed = parse(message).expect("what is written can be read");
        for element in parsed.data.elements() {
            // PARAM-NAME (RFC 5424, section 6): receivers that keep to it close the connection at others.
            let names = element.parameters().map(|parameter| parameter.name.len());
            assert!(names.into_iter().all(|length| (1..=32).contains(&length)));
        }
        messages.push(Ok(message.to_vec()));
        start = end as usize;
    }
    assert_eq!(start, bare.len());
    let (mut counted, mut again) = (Vec::new(), Vec::new());
    let written = formatter.write(view, Framing::OctetCounted, &mut counted, &mut again);
    assert_eq!(written, Ok(count));
    if messages.iter().flatten().all(|message| message.len() <= MAX_MESSAGE) {
        assert_eq!(decode(Framing::OctetCounted, &counted, 7), messages);
    }
    let mut lines = Vec::new();
    let written = formatter.write(view, Framing::NonTransparent, &mut lines, &mut again);
    assert_eq!(written, Ok(count));
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), messages.len());
}

fn decode(framing: Framing, bytes: &[u8], step: usize) -> Vec<Result<Vec<u8>, Fault>> {
    let mut decoder = Decoder::new(framing, MAX_MESSAGE);
    let (mut held, mut found) = (Vec::new(), Vec::new());
    let own = |item: Item<'_>| match item {
        Item::Message(message) => Ok(message.to_vec()),
        Item::Fault(fault) => Err(fault),
    };
    for piece in bytes.chunks(step.max(1)) {
        held.extend_from_slice(piece);
        let mut rest = held.as_slice();
        while let Some(item) = decoder.next(&mut rest) {
            found.push(own(item));
        }
        let left = rest.len();
        assert!(left < decoder.min_buffer());
        held.drain(..held.len() - left);
    }
    found.extend(decoder.finish(&held, true).map(own));
    found
}
