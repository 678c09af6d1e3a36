//! Answers that were made and are not read yet.
//!
//! An answer may be large, and its client slow, or of ill will: what lies here is bounded, for each caller and for all. An
//! answer that is written while it is read counts with what is held for the part that is not written yet.
//! Who asks for more than that is refused until it has read what it has; a client that does not read is cut after some minutes
//! (`weir_net::serve_http`), which gives its bytes back.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use thiserror::Error;
use weir_error::{Classify, ErrorKind};

/// Bytes of answers that may lie here for one caller. A single answer may be larger.
pub(crate) const OF_A_CALLER: usize = 128 << 20;

/// Bytes of answers that may lie here in all.
const IN_ALL: usize = 256 << 20;

/// There is too much that was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Unread {
    /// Of this caller.
    #[error("answers of `{0}` bytes are there for this caller already, not read yet")]
    Yours(usize),
    /// Of all callers together.
    #[error("answers of others are there that were not read yet")]
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

/// What lies here.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// By caller; nobody is there without bytes.
    by_caller: HashMap<String, usize>,
}

impl Answers {
    /// An answer's body; it counts as `caller`'s until it was read or given up.
    pub(crate) fn hold(self: &Arc<Self>, caller: &str, answer: Vec<u8>) -> Result<Body, Unread> {
        let bytes = answer.len();
        if bytes == 0 {
            return Ok(Body::empty());
        }
        self.hold_body(caller, bytes, Body::from(answer))
    }

    /// A body of an answer for which `bytes` are held, however long it is; they count as `caller`'s until it was read or
    /// given up.
    pub(crate) fn hold_body(self: &Arc<Self>, caller: &str, bytes: usize, body: Body) -> Result<Body, Unread> {
        let mut held = self.held.lock();
        let own = held.by_caller.get(caller).copied().unwrap_or_default();
        if own > 0 && own + bytes > OF_A_CALLER {
            return Err(Unread::Yours(own));
        }
        if held.all > 0 && held.all + bytes > IN_ALL {
            return Err(Unread::Others);
        }
        held.all += bytes;
        *held.by_caller.entry(caller.to_owned()).or_default() += bytes;
        drop(held);
        Ok(Body::new(Lying {
            body,
            bytes,
            caller: caller.to_owned(),
            answers: Arc::clone(self),
        }))
    }
}

#[cfg(test)]
impl Answers {
    /// Bytes that lie here.
    pub(crate) fn held(&self) -> usize {
        self.held.lock().all
    }
}

/// A body that gives its bytes back when it is gone.
struct Lying {
    body: Body,
    bytes: usize,
    caller: String,
    answers: Arc<Answers>,
}

impl HttpBody for Lying {
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

impl Drop for Lying {
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

    /// Each caller has its share, an answer alone is never too large, and what is read makes room.
    #[tokio::test]
    async fn who_does_not_read_gets_no_more() {
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
