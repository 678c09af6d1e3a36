//! The messages and frames in flight to one client, and their counts.
//!
//! Envelopes are converted directly from the encoded form into WebSocket frames in one reused buffer. A message, and
//! with it the receipt for its doppler, is released when its last frame is in the socket.

use std::collections::VecDeque;

use bytes::Bytes;
use weir_envelope::v1::Converter;
use weir_envelope::view::EnvelopeView;
use weir_envelope::wire::{Fields, Value};
use weir_flow::{Loss, Receipt};

use super::filter::Filter;
use crate::websocket::frame::{Opcode, frame_len, next_frame_len, put_frame};

/// The buffer is written when it holds this many bytes. Four TLS records are enough to make system calls rare.
const FULL: usize = 64 << 10;

/// The capacity in bytes that the buffer keeps. One large envelope may need far more for a moment.
const MOST_KEPT: usize = 1 << 20;

/// A message of a subscription.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// An encoded `EnvelopeBatch`. Its envelopes were validated here or by a doppler of Weir, so they are not validated
    /// again.
    pub(crate) message: Bytes,
    /// The receipt that acknowledges the message to the doppler.
    pub(crate) receipt: Option<Receipt>,
}

/// The number of envelopes and frames in the buffer, or of those that were written.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The number of v2 envelopes with at least one frame.
    pub(crate) envelopes: u64,
    /// The number of frames, which is the number of v1 envelopes.
    pub(crate) frames: u64,
}

/// The results of converting messages: envelopes received, and those without a v1 form.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// The number of envelopes that the client asked for, convertible or not.
    pub(crate) received: u64,
    /// The envelopes that have no v1 form.
    pub(crate) unconvertible: Vec<Loss>,
}

/// The messages and frames that are not yet in the socket.
#[derive(Debug)]
pub(crate) struct Outgoing {
    filter: Filter,
    converter: Converter,
    messages: VecDeque<PendingMessage>,
    buffer: Vec<u8>,
    tally: Tally,
    findings: Findings,
}

/// A message that is being written.
#[derive(Debug)]
struct PendingMessage {
    message: Bytes,
    /// Held until the message is written.
    _receipt: Option<Receipt>,
    /// The offset up to which the frames are in the socket.
    written: usize,
    /// The offset up to which the frames are in the socket or in the buffer.
    encoded: usize,
}

impl PendingMessage {
    /// Returns the first envelope at or after `at`, and the offset at which it ends.
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

    /// Adds a message, and converts as much of it as the buffer has room for.
    pub(crate) fn push(&mut self, arrival: Arrival) {
        self.messages.push_back(PendingMessage {
            message: arrival.message,
            _receipt: arrival.receipt,
            written: 0,
            encoded: 0,
        });
        self.fill();
    }

    /// Returns whether another message should wait until the buffer is written.
    pub(crate) fn is_full(&self) -> bool {
        self.buffer.len() >= FULL
    }

    /// Returns the frames to be written.
    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer
    }

    /// Records that the whole buffer is in the socket, releases complete messages, and converts more. Returns what was
    /// written.
    pub(crate) fn written(&mut self) -> Tally {
        self.buffer.clear();
        // One large message must not keep its memory for the rest of the stream.
        self.buffer.shrink_to(MOST_KEPT);
        self.messages.retain_mut(|pending| {
            // A message is released when all of its envelopes were written, and its receipt with it.
            pending.written = pending.encoded;
            pending.written < pending.message.len()
        });
        let tally = std::mem::take(&mut self.tally);
        self.fill();
        tally
    }

    /// Returns what was found since the last call.
    pub(crate) fn take_findings(&mut self) -> Findings {
        std::mem::take(&mut self.findings)
    }

    /// Returns the end of the frame that the first `accepted` bytes of the buffer cut, or `accepted` if they cut none.
    pub(crate) fn frame_end(&self, accepted: usize) -> usize {
        let mut end = 0;
        while end < accepted {
            end += next_frame_len(&self.buffer[end..]);
        }
        end
    }

    /// Ends the stream with `written` bytes of the buffer in the socket. Returns what these bytes contain, and the
    /// losses.
    ///
    /// The messages are released, because everything in them is counted with this.
    pub(crate) fn abandon(&mut self, written: usize) -> (Tally, Vec<Loss>) {
        let (mut tally, mut losses) = (Tally::default(), Vec::new());
        let mut end = 0;
        for pending in std::mem::take(&mut self.messages) {
            let mut at = pending.written;
            while let Some((envelope, next)) = PendingMessage::envelope(&pending.message, at) {
                if at < pending.encoded {
                    // The sizes are measured again. This is cheaper than recording them for every envelope that is
                    // delivered.
                    let (frames, bytes) = self.measure(envelope);
                    end += bytes;
                    if frames > 0 && end <= written {
                        tally.envelopes += 1;
                        tally.frames += frames;
                    } else if frames > 0 {
                        add_loss(&mut losses, envelope.source_id());
                    }
                    // Without frames, the envelope was counted when it was converted, or the client did not ask for it.
                } else {
                    self.findings.received += 1;
                    add_loss(&mut losses, envelope.source_id());
                }
                at = next;
            }
        }
        (tally, losses)
    }

    /// Returns how many frames an envelope gives, and their size in bytes.
    fn measure(&mut self, envelope: EnvelopeView<'_>) -> (u64, usize) {
        let (mut frames, mut bytes) = (0, 0);
        // An envelope without a v1 form gives no frames.
        let _converted = self.converter.to_v1(envelope, |v1| {
            if self.filter.wants(v1) {
                frames += 1;
                bytes += frame_len(v1.len());
            }
        });
        (frames, bytes)
    }

    fn fill(&mut self) {
        for pending in &mut self.messages {
            // At least one envelope is converted if the buffer is not full, however large its frame is.
            while self.buffer.len() < FULL {
                let Some((envelope, end)) = PendingMessage::envelope(&pending.message, pending.encoded) else {
                    pending.encoded = pending.message.len();
                    break;
                };
                pending.encoded = end;
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
                // Envelopes that the filter does not want are not counted, because the client did not ask for them.
                self.findings.received += u64::from(wanted > 0 || converted.is_err());
                self.tally.frames += wanted;
                self.tally.envelopes += u64::from(wanted > 0);
            }
        }
    }
}

/// Counts one lost envelope of `source_id`. Consecutive envelopes usually have one source, so comparing with the last
/// entry keeps the list short. The ledger adds up entries with the same source.
fn add_loss(losses: &mut Vec<Loss>, source_id: &str) {
    match losses.last_mut() {
        // Envelopes of one source usually follow each other, so this list stays short without a map.
        Some(last) if last.source_id == source_id => last.count += 1,
        _ => losses.push(Loss {
            source_id: source_id.to_owned(),
            count: 1,
        }),
    }
}

#[cfg(test)]
mod tests;
