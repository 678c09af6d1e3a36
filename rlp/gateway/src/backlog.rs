//! What a stream has taken from the RLP: pieces that wait to be sent, pieces in flight, and pieces kept for a client
//! that may reconnect.
//!
//! ```text
//!   first                      next                         end
//!   ├── sent, settled or not ──┼── waiting ─────────────────┤     numbers count from 1, without gaps
//! ```
//!
//! A piece is settled when its event is in the socket, or when the client says that it has it. What is not settled when
//! the stream ends is counted as lost.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use weir_envelope::batch::{Batch, Split};
use weir_envelope::view::EnvelopeView;
use weir_flow::{Ledger, Reason};

use crate::events;

/// The largest size in bytes of the envelopes in one event, unless one envelope alone is larger.
pub(crate) const PIECE: usize = 256 << 10;

/// The largest number of envelopes in one event. It is the original's batch size.
const MOST_ENVELOPES: usize = 100;

/// A part of a message that becomes one event.
#[derive(Debug)]
struct Piece {
    batch: Batch,
    part: Range<usize>,
    bytes: usize,
    settled: bool,
}

impl Piece {
    fn envelopes(&self) -> u64 {
        self.part.len() as u64
    }

    fn views(&self) -> impl Iterator<Item = EnvelopeView<'_>> {
        let part = self.batch.iter().skip(self.part.start).take(self.part.len());
        part.map(|envelope| envelope.view())
    }
}

/// The pieces of one stream. They are counted in the ledger as they arrive, are sent and are lost.
#[derive(Debug)]
pub(crate) struct Backlog {
    pieces: VecDeque<Piece>,
    /// The number of the first piece.
    first: u64,
    /// The number of the next piece to send.
    next: u64,
    /// The size in bytes of all pieces.
    bytes: usize,
    /// The size in bytes of the pieces that wait.
    waiting: usize,
    /// How many bytes of settled pieces are kept.
    keep: usize,
    /// The pieces in flight: the number of the event at the outlet and the number of the piece.
    sent: VecDeque<(u64, u64)>,
}

impl Backlog {
    /// Creates an empty backlog that keeps `keep` bytes for a client that reconnects.
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            pieces: VecDeque::new(),
            first: 1,
            next: 1,
            bytes: 0,
            waiting: 0,
            keep,
            sent: VecDeque::new(),
        }
    }

    /// Splits a message into pieces and counts its envelopes.
    pub(crate) fn push(&mut self, message: Bytes, ledger: &Ledger) {
        let Split {
            batch,
            rejected,
            broken,
            ..
        } = Batch::split(message);
        for rejected in &rejected {
            ledger.received(1);
            ledger.dropped("ingress", Reason::Malformed, &rejected.source_id, 1);
        }
        if broken.is_some() {
            ledger.received(1);
            ledger.dropped("ingress", Reason::Malformed, "", 1);
        }
        let envelopes = batch.len() as u64;
        ledger.received(envelopes);
        ledger.in_flight(envelopes.cast_signed());
        let mut start = 0;
        let mut bytes = 0;
        let mut cuts = Vec::new();
        for (index, envelope) in batch.iter().enumerate() {
            // A message may hold more than one event should. Pieces share its bytes, so splitting it copies nothing.
            let size = envelope.field().len();
            if index > start && (index - start == MOST_ENVELOPES || bytes + size > PIECE) {
                cuts.push((start..index, bytes));
                (start, bytes) = (index, 0);
            }
            bytes += size;
        }
        if start < batch.len() {
            cuts.push((start..batch.len(), bytes));
        }
        for (part, bytes) in cuts {
            self.bytes += bytes;
            self.waiting += bytes;
            self.pieces.push_back(Piece {
                batch: batch.clone(),
                part,
                bytes,
                settled: false,
            });
        }
    }

    /// Returns whether a piece waits to be sent.
    pub(crate) const fn has_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// Returns whether as much waits as may be kept for an absent client.
    pub(crate) const fn is_full(&self) -> bool {
        self.waiting >= self.keep
    }

    /// Returns the event of the next piece, and records that the outlet sends it as its event `event`. The event has an
    /// id if there is a session.
    pub(crate) fn send(&mut self, session: Option<&str>, event: u64) -> Option<Bytes> {
        let index = usize::try_from(self.next - self.first).ok()?;
        let piece = self.pieces.get(index)?;
        let id = session.map(|session| (session, self.next));
        let data = events::data(piece.views(), piece.bytes, id);
        self.waiting -= piece.bytes;
        // The number of the event and that of the piece differ, because heartbeats are events as well.
        self.sent.push_back((event, self.next));
        self.next += 1;
        Some(data)
    }

    /// Returns whether pieces are in flight.
    pub(crate) fn is_on_its_way(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Records that the outlet's events up to `event` are in the socket.
    pub(crate) fn written(&mut self, event: u64, ledger: &Ledger) {
        while let Some((of_event, number)) = self.sent.front().copied()
            && of_event <= event
        {
            self.sent.pop_front();
            self.settle(number, ledger);
        }
        self.forget();
    }

    /// Records that the client has disconnected. Pieces in flight may not have arrived.
    pub(crate) fn detach(&mut self) {
        // The entry is removed first, so that nobody gets a new handle. Closing then refuses requests of existing
        // handles.
        self.sent.clear();
    }

    /// Continues after the event `number`, which is the last one that the client has. Returns how many of the following
    /// events are not kept any more.
    pub(crate) fn rewind(&mut self, number: u64, ledger: &Ledger) -> u64 {
        self.detach();
        let end = self.first + self.pieces.len() as u64;
        // The client cannot have more than was sent.
        let has = number.min(self.next.saturating_sub(1));
        for number in self.first..=has {
            self.settle(number, ledger);
        }
        self.forget();
        let wanted = (has + 1).clamp(self.first, end);
        // What is asked for may not be kept any more, or was never sent. The difference is reported as a gap.
        self.next = wanted;
        let from = usize::try_from(wanted - self.first).unwrap_or(usize::MAX);
        self.waiting = self.pieces.iter().skip(from).map(|piece| piece.bytes).sum();
        wanted - (has + 1).min(wanted)
    }

    /// Counts everything that is not settled as lost.
    pub(crate) fn abandon(&mut self, reason: Reason, ledger: &Ledger) {
        self.detach();
        for piece in self.pieces.drain(..).filter(|piece| !piece.settled) {
            ledger.in_flight(-piece.envelopes().cast_signed());
            // Losses are reported per source. Envelopes of one source usually follow each other, so a run is reported
            // at once.
            let mut run: Option<(&str, u64)> = None;
            for envelope in piece.batch.iter().skip(piece.part.start).take(piece.part.len()) {
                run = match run {
                    Some((source, count)) if source == envelope.source_id() => Some((source, count + 1)),
                    before => {
                        if let Some((source, count)) = before {
                            ledger.dropped("egress", reason, source, count);
                        }
                        Some((envelope.source_id(), 1))
                    }
                };
            }
            if let Some((source, count)) = run {
                ledger.dropped("egress", reason, source, count);
            }
        }
        self.bytes = 0;
        self.waiting = 0;
    }

    fn settle(&mut self, number: u64, ledger: &Ledger) {
        let index = number
            .checked_sub(self.first)
            .and_then(|index| usize::try_from(index).ok());
        if let Some(piece) = index.and_then(|index| self.pieces.get_mut(index))
            && !piece.settled
        {
            piece.settled = true;
            ledger.sent(piece.envelopes());
            ledger.in_flight(-piece.envelopes().cast_signed());
        }
    }

    /// Removes settled pieces beyond what is to be kept.
    fn forget(&mut self) {
        // Settled pieces are kept while there is room, for clients whose connection breaks before they have read them.
        while let Some(front) = self.pieces.front()
            && front.settled
            && self.first < self.next
            && self.bytes > self.keep
        {
            self.bytes -= front.bytes;
            self.first += 1;
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
