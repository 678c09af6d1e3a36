//! Bounds the memory of answers that their clients have not read yet.
//!
//! An answer may be large, and its client slow or hostile. So the size of unread answers is bounded for each caller and
//! in all. An answer that is written while it is read counts with the memory that is held for its unwritten part. A
//! caller that exceeds its bound is refused until it has read its answers. The connection of a client that does not
//! read is closed after some minutes (`weir_net::serve_http`), which frees its bytes.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use thiserror::Error;
use weir_error::{Classify, ErrorKind};

/// The greatest size of unread answers of one caller, in bytes. A single answer may be larger.
pub(crate) const PER_CALLER: usize = 128 << 20;

/// The greatest size of unread answers of all callers together, in bytes.
const IN_TOTAL: usize = 256 << 20;

/// The error if too many answers are unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Unread {
    /// This caller has too many unread answers, of this many bytes.
    #[error("`{0}` bytes of answers wait for this caller already, not read yet")]
    Yours(usize),
    /// All callers together have too many unread answers.
    #[error("too many answers of all callers together are not read yet")]
    Others,
}

impl Classify for Unread {
    fn kind(&self) -> ErrorKind {
        ErrorKind::RateLimited
    }

    fn retryable(&self) -> bool {
        true
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Yours(_) => "read them before asking for more, or ask for less".to_owned(),
            Self::Others => "try again in a few seconds".to_owned(),
        })
    }
}

/// The unread answers of all callers.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// The size of the unread answers of each caller that has any, in bytes.
    by_caller: HashMap<String, usize>,
}

impl Answers {
    /// Returns an answer as a body, which counts towards the unread answers of `caller` until it is dropped.
    pub(crate) fn hold(self: &Arc<Self>, caller: &str, answer: Vec<u8>) -> Result<Body, Unread> {
        let bytes = answer.len();
        if bytes == 0 {
            return Ok(Body::empty());
        }
        self.hold_body(caller, bytes, Body::from(answer))
    }

    /// Returns a body for which `bytes` of memory are held. They count towards the unread answers of `caller` until the
    /// body is dropped.
    pub(crate) fn hold_body(self: &Arc<Self>, caller: &str, bytes: usize, body: Body) -> Result<Body, Unread> {
        let mut held = self.held.lock();
        let own = held.by_caller.get(caller).copied().unwrap_or_default();
        // A caller without unread answers gets an answer of any size, or it could never get a large one.
        if own > 0 && own + bytes > PER_CALLER {
            return Err(Unread::Yours(own));
        }
        if held.all > 0 && held.all + bytes > IN_TOTAL {
            return Err(Unread::Others);
        }
        held.all += bytes;
        *held.by_caller.entry(caller.to_owned()).or_default() += bytes;
        drop(held);
        Ok(Body::new(UnreadBody {
            body,
            bytes,
            caller: caller.to_owned(),
            answers: Arc::clone(self),
        }))
    }
}

#[cfg(test)]
impl Answers {
    /// The size of all unread answers, in bytes.
    pub(crate) fn held(&self) -> usize {
        self.held.lock().all
    }
}

/// The body of an unread answer, which frees its bytes when it is dropped.
struct UnreadBody {
    body: Body,
    bytes: usize,
    caller: String,
    answers: Arc<Answers>,
}

impl HttpBody for UnreadBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for UnreadBody {
    fn drop(&mut self) {
        let mut held = self.answers.held.lock();
        held.all -= self.bytes;
        let own = held.by_caller.get_mut(&self.caller);
        let left = own.map_or(0, |own| {
            *own -= self.bytes;
            *own
        });
        if left == 0 {
            held.by_caller.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn answer(mebibytes: usize) -> Vec<u8> {
        vec![0; mebibytes * MIB]
    }

    /// Each caller has its share, a single answer is never too large, and an answer that was read makes room.
    #[tokio::test]
    async fn unread_answers_are_bounded() {
        let answers = Arc::new(Answers::default());
        let huge = answers.hold("a", answer(200)).expect("one alone");
        assert_eq!(answers.hold("a", answer(1)).unwrap_err(), Unread::Yours(200 * MIB));
        let others = ["b", "c"].map(|caller| answers.hold(caller, answer(20)).expect("their share"));
        assert_eq!(answers.hold("d", answer(100)).unwrap_err(), Unread::Others);
        assert!(answers.hold("d", answer(10)).is_ok());
        assert_eq!(
            axum::body::to_bytes(huge, usize::MAX).await.expect("infallible").len(),
            200 * MIB
        );
        assert!(answers.hold("a", answer(100)).is_ok());
        drop(others);
        let held = answers.held.lock();
        assert_eq!((held.all, held.by_caller.len()), (0, 0));
    }
}
