//! When has a consumer that does not acknowledge got a message?
//!
//! What is handed to tonic lies in HTTP/2's and TLS's buffers for a while; if this process is killed then, it is gone.
//! A message counts as handed over once as many bytes followed it on its stream as those buffers hold, or, where nothing
//! follows, when it is old enough that an unstalled connection has written it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// More than the send buffers of hyper (400 KiB) and tonic (256 KiB) hold for one stream.
const TRAILING_BYTES: usize = 1 << 20;

/// A connection that is not stalled writes within this time.
const WRITTEN_AFTER: Duration = Duration::from_millis(200);

/// Messages on their way through the transport, with whatever must not be let go before they are written.
#[derive(Debug)]
pub struct Handover<T> {
    messages: VecDeque<Message<T>>,
    bytes: usize,
}

#[derive(Debug)]
struct Message<T> {
    bytes: usize,
    since: Instant,
    held: T,
}

impl<T> Default for Handover<T> {
    fn default() -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<T> Handover<T> {
    /// A message of `bytes` bytes goes to the transport; returns what earlier messages held and is written by now.
    pub fn push(&mut self, bytes: usize, held: T) -> Vec<T> {
        self.messages.push_back(Message {
            bytes,
            since: Instant::now(),
            held,
        });
        self.bytes += bytes;
        self.release()
    }

    /// What messages held that are written by now.
    pub fn release(&mut self) -> Vec<T> {
        let now = Instant::now();
        let mut released = Vec::new();
        while let Some(oldest) = self.messages.front() {
            let followed_by = self.bytes - oldest.bytes;
            if followed_by < TRAILING_BYTES && now < oldest.since + WRITTEN_AFTER {
                break;
            }
            self.bytes -= oldest.bytes;
            released.extend(self.messages.pop_front().map(|message| message.held));
        }
        released
    }

    /// When [`Handover::release`] returns all that is held, if nothing follows. Whoever pushes does not need to wake up
    /// earlier: each push releases as well.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.messages.back().map(|newest| newest.since + WRITTEN_AFTER)
    }

    /// Takes everything that is still held: the consumer is gone.
    pub fn abandon(&mut self) -> Vec<T> {
        self.bytes = 0;
        self.messages.drain(..).map(|message| message.held).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time stands still: only trailing bytes release; then time passes and the rest goes.
    #[tokio::test(start_paused = true)]
    async fn messages_are_held_until_they_are_written() {
        let mut handover = Handover::default();
        assert!(handover.push(600_000, 1).is_empty());
        assert!(handover.push(600_000, 2).is_empty());
        assert_eq!(handover.push(600_000, 3), [1]);
        tokio::time::advance(WRITTEN_AFTER).await;
        assert_eq!(handover.release(), [2, 3]);
        handover.push(10, 4);
        assert_eq!(handover.abandon(), [4]);
        assert_eq!(handover.due(), None);
    }
}
