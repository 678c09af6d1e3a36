//! What is on its way to one client: messages from dopplers, their frames, and the books about both.
//!
//! Envelopes are converted straight from the wire form into WebSocket frames in one reused buffer. A message, and with it
//! the receipt that its doppler waits for, is let go when the last of its frames lies in the socket.

use std::collections::VecDeque;

use bytes::Bytes;
use weir_envelope::v1::Converter;
use weir_envelope::view::EnvelopeView;
use weir_envelope::wire::{Fields, Value};
use weir_flow::{Loss, Receipt};

use super::filter::Filter;
use crate::websocket::frame::{Opcode, frame_len, next_frame_len, put_frame};

/// The buffer is written once it holds this many bytes. Four TLS records: enough to make system calls rare.
const FULL: usize = 64 << 10;

/// One envelope may exceed that by far; the memory for it is not kept.
const MOST_KEPT: usize = 1 << 20;

/// A message of a subscription.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// An `EnvelopeBatch` whose envelopes were validated, by us or by a doppler of ours: they are not looked at twice.
    pub(crate) message: Bytes,
    /// What tells the doppler that it was handed on.
    pub(crate) receipt: Option<Receipt>,
}

/// What was filled into the buffer, or came of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    /// v2 envelopes of which at least one frame is there.
    pub(crate) envelopes: u64,
    /// Frames: v1 envelopes.
    pub(crate) frames: u64,
}

/// What came of messages beside frames.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Envelopes that this client asked for, convertible or not.
    pub(crate) received: u64,
    /// Those that v1 cannot express.
    pub(crate) unconvertible: Vec<Loss>,
}

/// Messages and frames that are not yet in the socket.
#[derive(Debug)]
pub(crate) struct Outgoing {
    filter: Filter,
    converter: Converter,
    messages: VecDeque<Open>,
    buffer: Vec<u8>,
    tally: Tally,
    findings: Findings,
}

/// A message that is being written.
#[derive(Debug)]
struct Open {
    message: Bytes,
    /// Held until the message is written.
    _receipt: Option<Receipt>,
    /// Up to where the frames lie in the socket.
    written: usize,
    /// Up to where the frames lie there or in the buffer.
    encoded: usize,
}

impl Open {
    /// The envelope at or behind `at`, and where it ends.
    fn envelope(message: &[u8], mut at: usize) -> Option<(EnvelopeView<'_>, usize)> {
        loop {
            let mut fields = Fields::new(message.get(at..)?);
            let field = fields.next()?.ok()?;
            at += fields.offset();
            if let (1, Value::Bytes(envelope)) = field {
                return Some((EnvelopeView::new(envelope), at));
            }
        }
    }
}

impl Outgoing {
    pub(crate) fn new(filter: Filter) -> Self {
        Self {
            filter,
            converter: Converter::new(),
            messages: VecDeque::new(),
            buffer: Vec::new(),
            tally: Tally::default(),
            findings: Findings::default(),
        }
    }

    /// Takes a message in and converts as much of it as there is room for.
    pub(crate) fn push(&mut self, arrival: Arrival) {
        self.messages.push_back(Open {
            message: arrival.message,
            _receipt: arrival.receipt,
            written: 0,
            encoded: 0,
        });
        self.fill();
    }

    /// Whether another message should wait until the buffer is written.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= FULL
    }

    /// The frames to write.
    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// The whole buffer lies in the socket: settles what is complete and converts on. Returns what was written.
    pub(crate) fn written(&mut self) -> Tally {
        self.buffer.clear();
        self.buffer.shrink_to(MOST_KEPT);
        self.messages.retain_mut(|open| {
            open.written = open.encoded;
            open.written < open.message.len()
        });
        let tally = std::mem::take(&mut self.tally);
        self.fill();
        tally
    }

    /// What was found in the messages since the last call.
    pub(crate) fn take_findings(&mut self) -> Findings {
        std::mem::take(&mut self.findings)
    }

    /// The end of the frame of which `accepted` bytes of the buffer cut off a part: writing must not stop before.
    pub(crate) fn frame_end(&self, accepted: usize) -> usize {
        let mut end = 0;
        while end < accepted {
            end += next_frame_len(&self.buffer[end..]);
        }
        end
    }

    /// The stream ends with `written` bytes of the buffer in the socket: what they contain, and who loses what.
    ///
    /// The messages are let go: what they contained is accounted for with this.
    pub(crate) fn abandon(&mut self, written: usize) -> (Tally, Vec<Loss>) {
        let (mut tally, mut losses) = (Tally::default(), Vec::new());
        let mut end = 0;
        for open in std::mem::take(&mut self.messages) {
            let mut at = open.written;
            while let Some((envelope, next)) = Open::envelope(&open.message, at) {
                if at < open.encoded {
                    // Measured again: cheaper than remembering it for every envelope that goes well.
                    let (frames, bytes) = self.measure(envelope);
                    end += bytes;
                    if frames > 0 && end <= written {
                        tally.envelopes += 1;
                        tally.frames += frames;
                    } else if frames > 0 {
                        add_loss(&mut losses, envelope.source_id());
                    }
                    // Without frames it was counted when it was converted, or is nothing that this client asked for.
                } else {
                    self.findings.received += 1;
                    add_loss(&mut losses, envelope.source_id());
                }
                at = next;
            }
        }
        (tally, losses)
    }

    /// How many frames an envelope became, and their bytes.
    fn measure(&mut self, envelope: EnvelopeView<'_>) -> (u64, usize) {
        let (mut frames, mut bytes) = (0, 0);
        // What has no v1 form has no frames.
        let _converted = self.converter.to_v1(envelope, |v1| {
            if self.filter.wants(v1) {
                frames += 1;
                bytes += frame_len(v1.len());
            }
        });
        (frames, bytes)
    }

    fn fill(&mut self) {
        for open in &mut self.messages {
            while self.buffer.len() < FULL {
                let Some((envelope, end)) = Open::envelope(&open.message, open.encoded) else {
                    open.encoded = open.message.len();
                    break;
                };
                open.encoded = end;
                let mut wanted = 0;
                let converted = self.converter.to_v1(envelope, |v1| {
                    if self.filter.wants(v1) {
                        wanted += 1;
                        put_frame(&mut self.buffer, Opcode::Binary, v1);
                    }
                });
                if converted.is_err() {
                    add_loss(&mut self.findings.unconvertible, envelope.source_id());
                }
                self.findings.received += u64::from(wanted > 0 || converted.is_err());
                self.tally.frames += wanted;
                self.tally.envelopes += u64::from(wanted > 0);
            }
        }
    }
}

/// Counts one envelope of `source_id`. Neighbours mostly share their source, so looking at the last entry is enough to
/// keep the list short; the ledger adds up what comes twice.
fn add_loss(losses: &mut Vec<Loss>, source_id: &str) {
    match losses.last_mut() {
        Some(last) if last.source_id == source_id => last.count += 1,
        _ => losses.push(Loss {
            source_id: source_id.to_owned(),
            count: 1,
        }),
    }
}

#[cfg(test)]
mod tests;
