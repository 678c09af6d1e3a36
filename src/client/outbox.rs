//! A queue of lines for the agent, for a producer that must not wait.
//!
//! It is bounded in lines and in bytes. A full outbox drops and counts new lines: the older lines usually show the cause of a
//! problem. Lines are collected into batches, so that one message carries all lines that have gathered.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::view::Stream;

use super::{Line, Sequence};

/// The most lines in the outbox.
const MAX_LINES: usize = 500_000;
/// The most bytes of envelopes in the outbox.
const MAX_BYTES: usize = 64 << 20;
/// The lines of a full batch.
const BATCH_LINES: usize = 250;
/// The bytes of a full batch.
const BATCH_BYTES: usize = 512 * 1024;

/// A bounded buffer of lines.
#[derive(Debug)]
pub(crate) struct Outbox {
    line: Line,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    sequence: Sequence,
    full: VecDeque<Batch>,
    open: BatchBuilder,
    lines: usize,
    bytes: usize,
    offered: u64,
    overflowed: u64,
    closed: bool,
}

impl Outbox {
    /// Returns an empty outbox.
    pub(crate) fn new(line: Line) -> Self {
        Self {
            line,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Adds a line, or counts it as lost if the outbox is full.
    pub(crate) fn offer(&self, payload: &[u8], stream: Stream) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.offered += 1;
        if state.lines >= MAX_LINES || state.bytes + payload.len() > MAX_BYTES {
            state.overflowed += 1;
            return;
        }
        let before = state.open.byte_len();
        let timestamp = state.sequence.next();
        if !state
            .open
            .push_with(|envelope| self.line.write(envelope, timestamp, payload, stream))
        {
            state.overflowed += 1;
            return;
        }
        state.lines += 1;
        state.bytes += state.open.byte_len() - before;
        if state.open.len() >= BATCH_LINES || state.open.byte_len() >= BATCH_BYTES {
            let batch = state.open.finish();
            state.full.push_back(batch);
        }
        // The woken task needs the lock at once.
        drop(guard);
        self.changed.notify_one();
    }

    /// Closes the outbox: there will be no more lines.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits for the oldest lines and returns them as one batch; `None` if the outbox is closed and empty. There must be only one
    /// caller, because `close` and `offer` wake one. Cancel safe.
    pub(crate) async fn take(&self) -> Option<Batch> {
        loop {
            {
                let mut state = self.state.lock();
                let batch = match state.full.pop_front() {
                    Some(batch) => Some(batch),
                    None if !state.open.is_empty() => Some(state.open.finish()),
                    None => None,
                };
                if let Some(batch) = batch {
                    state.lines -= batch.len();
                    state.bytes -= batch.byte_len();
                    return Some(batch);
                }
                if state.closed {
                    return None;
                }
            }
            // `Notify` keeps a call of `notify_one` that came after the check.
            self.changed.notified().await;
        }
    }

    /// Returns the numbers of lines that were offered, and of those that did not fit.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let state = self.state.lock();
        (state.offered, state.overflowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(Line {
            source_id: "a".to_owned(),
            instance_id: String::new(),
            source_type: "APP".to_owned(),
        })
    }

    /// All offered lines come out in batches, and then the end.
    #[tokio::test]
    async fn lines_come_out_in_batches() {
        let outbox = outbox();
        for _ in 0..BATCH_LINES + 1 {
            outbox.offer(b"line", Stream::Out);
        }
        outbox.close();
        let mut sizes = Vec::new();
        while let Some(batch) = outbox.take().await {
            sizes.push(batch.len());
        }
        assert_eq!(sizes, [BATCH_LINES, 1]);
        let state = outbox.state.lock();
        assert_eq!((state.lines, state.bytes), (0, 0));
    }

    /// Lines that do not fit, by number or by size, are counted.
    #[tokio::test]
    async fn overflow_is_counted() {
        let outbox = outbox();
        for _ in 0..MAX_LINES + 7 {
            outbox.offer(b"", Stream::Out);
        }
        assert_eq!(outbox.counts(), (MAX_LINES as u64 + 7, 7));

        let outbox = self::outbox();
        let long = vec![b'x'; MAX_BYTES / 2];
        for _ in 0..3 {
            outbox.offer(&long, Stream::Out);
        }
        assert_eq!(outbox.counts(), (3, 2));
    }
}
