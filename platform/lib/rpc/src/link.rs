//! What the links between Weir's own parts add to the original's protocol.
//!
//! The original ignores all of it: unknown fields, unknown metadata, and a service that it does not have.
//!
//! ```text
//! Before either: weir.link.v1.Link/Hello, an empty message both ways (the original: UNIMPLEMENTED).
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
//! `Progress` = 1 handed_on, 2 taken, 3 lost, 4 received (set in the last message only, when the server ends the stream:
//! later messages were not looked at and may be sent elsewhere). `Delivered` = 1 sequence, 2 envelopes, 3 whether any
//! has deprecated tags; it is the first field of its message. `Acknowledged` = 1 subscription, 2 sequence. All varints.

use bytes::Bytes;
use weir_envelope::batch::LINK_FIELD;
use weir_envelope::wire::{Fields, Value, WireError, put_bytes, put_uint};
use weir_flow::Progress;

/// Metadata key by which the two ends of a link find out that they speak it.
pub const LINK_METADATA: &str = "weir-link";

/// Full path of the call by which a client finds out whether the server speaks the link: the original does not have it.
pub const HELLO_PATH: &str = "/weir.link.v1.Link/Hello";

/// Full path of the acknowledgement stream.
pub const ACKNOWLEDGE_PATH: &str = "/weir.link.v1.Link/Acknowledge";

/// Name of the service that takes acknowledgements.
pub const LINK_SERVICE: &str = "weir.link.v1.Link";

/// What a subscriber is told with each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// Number of the message within the subscription, from one.
    pub sequence: u64,
    /// Envelopes in it.
    pub envelopes: u64,
    /// Whether any of them carries deprecated tags.
    pub deprecated_tags: bool,
}

/// The acknowledgement of one subscription: everything up to `sequence` was handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// As given by the server in its metadata.
    pub subscription: u64,
    /// Number of the last message handed on.
    pub sequence: u64,
}

/// A `Progress` with what ends the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IngressProgress {
    /// What is settled.
    pub progress: Progress,
    /// Set when the server ends the stream: the number of the last message that it looked at.
    pub received: Option<u64>,
}

impl Delivered {
    /// The field to put in front of the message.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut body = Vec::with_capacity(16);
        put_uint(&mut body, 1, self.sequence);
        put_uint(&mut body, 2, self.envelopes);
        put_uint(&mut body, 3, u64::from(self.deprecated_tags));
        wrap(&body)
    }

    /// Takes the field off the front of a message; `None` if the message does not begin with it.
    #[must_use]
    pub fn take_off(message: &Bytes) -> Option<(Self, Bytes)> {
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
    /// The response message.
    #[must_use]
    pub fn encode(self) -> Bytes {
        let mut body = Vec::with_capacity(32);
        put_uint(&mut body, 1, self.progress.handed_on);
        put_uint(&mut body, 2, self.progress.taken);
        put_uint(&mut body, 3, self.progress.lost);
        // Zero is a value here: one more than the number keeps it apart from "not set".
        put_uint(&mut body, 4, self.received.map_or(0, |received| received + 1));
        wrap(&body)
    }

    /// Reads a response message; `None` if it is one of the original's.
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

fn wrap(body: &[u8]) -> Bytes {
    let mut field = Vec::with_capacity(body.len() + 5);
    put_bytes(&mut field, LINK_FIELD, body);
    field.into()
}

/// Reads a message whose fields 1 to `N` are varints.
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

    #[test]
    fn what_is_encoded_is_read_back() {
        let delivered = Delivered {
            sequence: 300,
            envelopes: 100,
            deprecated_tags: true,
        };
        let message = Bytes::from([&delivered.encode()[..], b"\x0a\x00"].concat());
        let (read, rest) = Delivered::take_off(&message).expect("ours");
        assert_eq!((read, &rest[..]), (delivered, &b"\x0a\x00"[..]));
        assert_eq!(Delivered::take_off(&rest), None);

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
