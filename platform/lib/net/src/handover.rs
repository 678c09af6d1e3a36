//! When a message counts as received by a consumer that does not acknowledge.
//!
//! A message that was handed to tonic lies in the buffers of HTTP/2 and TLS for a while, and is lost if this process is
//! killed then. A message counts as handed over once as many bytes have followed it on its stream as those buffers
//! hold. Where nothing follows, it counts once it is so old that a connection which is not stalled has written it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// How many bytes have to follow a message: more than the send buffers of hyper (400 KiB) and tonic (256 KiB) hold for
/// one stream.
const TRAILING_BYTES: usize = 1 << 20;

/// How long a connection that is not stalled takes at most to write a message.
const WRITTEN_AFTER: Duration = Duration::from_millis(200);

/// Messages on their way through the transport. Each holds a value, such as a receipt, that must not be dropped before
/// the message is written.
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
    /// Adds a message of `bytes` bytes that is now handed to the transport. Returns the values of the messages that are
    /// written by now.
    pub fn push(&mut self, bytes: usize, held: T) -> Vec<T> {
        self.messages.push_back(Message {
            bytes,
            since: Instant::now(),
            held,
        });
        self.bytes += bytes;
        self.release()
    }

    /// Returns the values of the messages that are written by now.
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

    /// When [`Handover::release`] returns all values, if no message follows. A caller does not need to wake up earlier,
    /// because each [`Handover::push`] releases as well.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.messages.back().map(|newest| newest.since + WRITTEN_AFTER)
    }

    /// Returns all values that are still held, after the consumer has closed its stream.
    pub fn abandon(&mut self) -> Vec<T> {
        self.bytes = 0;
        self.messages.drain(..).map(|message| message.held).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// While time stands still, only the bytes that follow release a message. When time has passed, the rest is
    /// released.
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
