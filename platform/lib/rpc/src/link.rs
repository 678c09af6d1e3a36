//! The additions to the original's protocol that components of Weir use between themselves.
//!
//! The original ignores them: they are unknown fields, unknown metadata, and a service that it does not have.
//!
//! ```text
//! First, in both cases: weir.link.v1.Link/Hello, an empty message both ways (the original answers UNIMPLEMENTED).
//!
//! Ingress (BatchSender)                         Egress (BatchedReceiver)
//!
//! client ── metadata weir-link: 1 ───▶ server   client ── metadata weir-link: live|durable ──▶ server
//!        ◀── metadata weir-link: 1 ──                  ◀── metadata weir-link: <subscription> ─
//!        ── EnvelopeBatch, numbered by                 ◀── EnvelopeBatch { 15000: Delivered } ─
//!           its place in the stream ─▶
//!        ◀── BatchSenderResponse               client ── weir.link.v1.Link/Acknowledge ───────▶ server
//!            { 15000: Progress } ──                       stream of { 1: repeated Acknowledged }
//! ```
//!
//! The fields of these messages are varints:
//! - `Progress`: 1 handed_on, 2 taken, 3 lost, 4 received. `received` is set only in the last message, when the server
//!   ends the stream. The server has not looked at later messages, which may be sent elsewhere.
//! - `Delivered`: 1 sequence, 2 envelopes, 3 whether any envelope has deprecated tags. It is the first field of its
//!   message.
//! - `Acknowledged`: 1 subscription, 2 sequence.

use bytes::Bytes;
use weir_envelope::batch::LINK_FIELD;
use weir_envelope::wire::{Fields, Value, WireError, put_bytes, put_uint};
use weir_flow::Progress;

/// The metadata key by which the two ends of a link learn that the other end acknowledges.
pub const LINK_METADATA: &str = "weir-link";

/// The full path of the call by which a client finds out whether the server acknowledges. The original does not have
/// it.
pub const HELLO_PATH: &str = "/weir.link.v1.Link/Hello";

/// The full path of the acknowledgement stream.
pub const ACKNOWLEDGE_PATH: &str = "/weir.link.v1.Link/Acknowledge";

/// The name of the service that takes acknowledgements.
pub const LINK_SERVICE: &str = "weir.link.v1.Link";

/// The description of a message that a subscriber gets with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The number of the message within the subscription, counted from one.
    pub sequence: u64,
    /// The number of envelopes in the message.
    pub envelopes: u64,
    /// Whether any envelope carries deprecated tags.
    pub deprecated_tags: bool,
}

/// The acknowledgement of one subscription: its consumer has handed on every message up to `sequence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The number of the subscription, which the server gives in its metadata.
    pub subscription: u64,
    /// The number of the last message that was handed on.
    pub sequence: u64,
}

/// The progress of an ingress stream, and how far the server has read when it ends the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IngressProgress {
    /// Which messages are settled.
    pub progress: Progress,
    /// The number of the last message that the server has looked at. Set when the server ends the stream.
    pub received: Option<u64>,
}

impl Delivered {
    /// Encodes the field that stands in front of the message.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut body = Vec::with_capacity(16);
        put_uint(&mut body, 1, self.sequence);
        put_uint(&mut body, 2, self.envelopes);
        put_uint(&mut body, 3, u64::from(self.deprecated_tags));
        wrap(&body)
    }

    /// Splits the field from the front of a message. Returns `None` if the message does not begin with it.
    #[must_use]
    pub fn split_from(message: &Bytes) -> Option<(Self, Bytes)> {
        // Only the first field is looked at, so that a message of the original is not searched.
        let mut fields = Fields::new(message);
        let Some(Ok((LINK_FIELD, Value::Bytes(body)))) = fields.next() else {
            return None;
        };
        let rest = message.slice(fields.offset()..);
        let [sequence, envelopes, deprecated] = varints(body).ok()?;
        Some((
            Self {
                sequence,
                envelopes,
                deprecated_tags: deprecated != 0,
            },
            rest,
        ))
    }
}

impl IngressProgress {
    /// Encodes the response message.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut body = Vec::with_capacity(32);
        put_uint(&mut body, 1, self.progress.handed_on);
        put_uint(&mut body, 2, self.progress.taken);
        put_uint(&mut body, 3, self.progress.lost);
        // Protobuf does not tell zero from "not set", and zero messages is a possible value: the number is sent plus
        // one.
        put_uint(&mut body, 4, self.received.map_or(0, |received| received + 1));
        wrap(&body)
    }

    /// Reads a response message. Returns `None` if it is a response of the original.
    #[must_use]
    pub fn decode(message: &[u8]) -> Option<Self> {
        let mut fields = Fields::new(message);
        let Some(Ok((LINK_FIELD, Value::Bytes(body)))) = fields.next() else {
            return None;
        };
        let [handed_on, taken, lost, received] = varints(body).ok()?;
        Some(Self {
            progress: Progress { handed_on, taken, lost },
            received: received.checked_sub(1),
        })
    }
}

/// Encodes a message of the acknowledgement stream.
#[must_use]
pub fn encode_acknowledgements(acknowledged: &[Acknowledged]) -> Vec<u8> {
    let mut message = Vec::with_capacity(acknowledged.len() * 12);
    for one in acknowledged {
        let mut body = Vec::with_capacity(12);
        put_uint(&mut body, 1, one.subscription);
        put_uint(&mut body, 2, one.sequence);
        put_bytes(&mut message, 1, &body);
    }
    message
}

/// Reads a message of the acknowledgement stream.
pub fn decode_acknowledgements(message: &[u8]) -> Result<Vec<Acknowledged>, WireError> {
    let mut acknowledged = Vec::new();
    for field in Fields::new(message) {
        if let (1, value) = field? {
            let [subscription, sequence] = varints(value.bytes(1)?)?;
            acknowledged.push(Acknowledged { subscription, sequence });
        }
    }
    Ok(acknowledged)
}

/// Encodes `body` as the field of the link in a message of the original.
fn wrap(body: &[u8]) -> Bytes {
    let mut field = Vec::with_capacity(body.len() + 5);
    put_bytes(&mut field, LINK_FIELD, body);
    field.into()
}

/// Reads a message whose fields 1 to `N` are varints. Other fields are ignored, so that later versions may add some.
fn varints<const N: usize>(body: &[u8]) -> Result<[u64; N], WireError> {
    let mut values = [0; N];
    for field in Fields::new(body) {
        let (number, value) = field?;
        if let Some(slot) = (number as usize).checked_sub(1).and_then(|index| values.get_mut(index)) {
            *slot = value.varint(number)?;
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each message of the link is read as it was encoded, and messages of the original are told apart.
    #[test]
    fn messages_are_read_as_they_were_encoded() {
        let delivered = Delivered {
            sequence: 300,
            envelopes: 100,
            deprecated_tags: true,
        };
        let message = Bytes::from([&delivered.encode()[..], b"\x0a\x00"].concat());
        let (read, rest) = Delivered::split_from(&message).expect("a message of the link");
        assert_eq!((read, &rest[..]), (delivered, &b"\x0a\x00"[..]));
        assert_eq!(Delivered::split_from(&rest), None);

        for received in [None, Some(0), Some(7)] {
            let progress = IngressProgress {
                progress: Progress {
                    handed_on: 5,
                    taken: 9,
                    lost: 2,
                },
                received,
            };
            assert_eq!(IngressProgress::decode(&progress.encode()), Some(progress));
        }
        assert_eq!(IngressProgress::decode(b""), None);

        let acknowledged = [
            Acknowledged {
                subscription: 1,
                sequence: 2,
            },
            Acknowledged {
                subscription: 300,
                sequence: 0,
            },
        ];
        assert_eq!(
            decode_acknowledgements(&encode_acknowledgements(&acknowledged)),
            Ok(acknowledged.to_vec())
        );
    }
}
