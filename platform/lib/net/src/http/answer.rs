//! The body of an answer, which is handed to the transport piece by piece. What a client does not read stays here,
//! where it is counted, and not in the transport's buffers.
//!
//! The transport drops a body as soon as it has the last piece, which may be long before it can send that piece. Each
//! piece therefore notes when it was sent or given up, and the body is kept until the last piece has gone.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

use super::activity::Exchange;

/// The largest piece, in bytes. HTTP/2 buffers a whole piece, even if the client has room for a part of it only.
const PIECE: usize = 64 * 1024;

/// A body that notes which of its pieces the transport has not sent yet.
pub(super) struct Answer<B: Send + 'static> {
    /// The service's body, until this one is dropped.
    body: Option<Pin<Box<B>>>,
    /// The rest of a frame that was larger than a piece.
    rest: Bytes,
    lent: Arc<Lent>,
}

/// The state that exists as long as the transport has a piece.
struct Lent {
    exchange: Exchange,
    /// The body, once the transport has dropped it.
    body: Mutex<Option<Pin<Box<dyn Send>>>>,
}

/// Bytes that the transport has not sent yet.
struct Piece {
    bytes: Bytes,
    lent: Arc<Lent>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.lent.exchange.taken();
    }
}

impl<B: Send + 'static> Answer<B> {
    pub(super) fn new(body: B, exchange: Exchange) -> Self {
        Self {
            body: Some(Box::pin(body)),
            rest: Bytes::new(),
            lent: Arc::new(Lent {
                exchange,
                body: Mutex::new(None),
            }),
        }
    }

    /// An answer whose text is complete.
    pub(super) fn text(text: Bytes, exchange: Exchange) -> Self {
        Self {
            body: None,
            rest: text,
            lent: Arc::new(Lent {
                exchange,
                body: Mutex::new(None),
            }),
        }
    }

    fn give(&mut self, mut bytes: Bytes) -> Frame<Bytes> {
        let was_split = !self.rest.is_empty();
        self.rest = bytes.split_off(bytes.len().min(PIECE));
        if was_split && self.rest.is_empty() {
            // Only this piece still holds the frame's memory. The copy keeps a few bytes alive instead of the whole
            // frame.
            bytes = Bytes::copy_from_slice(&bytes);
        }
        self.lent.exchange.given(bytes.len());
        Frame::data(Bytes::from_owner(Piece {
            bytes,
            lent: Arc::clone(&self.lent),
        }))
    }
}

impl<B: Body<Data = Bytes> + Send + 'static> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if !this.rest.is_empty() {
            let rest = this.rest.clone();
            return Poll::Ready(Some(Ok(this.give(rest))));
        }
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        Poll::Ready(match ready!(body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => Some(Ok(match frame.into_data() {
                Ok(data) => this.give(data),
                Err(trailers) => trailers,
            })),
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.as_ref().is_none_or(|body| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self
            .body
            .as_ref()
            .map_or_else(SizeHint::default, |body| body.size_hint());
        let rest = self.rest.len() as u64;
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(inner.lower() + rest);
        hint
    }
}

impl<B: Send + 'static> Drop for Answer<B> {
    fn drop(&mut self) {
        // The body is dropped together with the last piece, which may have been sent already.
        *self.lent.body.lock() = self.body.take().map(|body| body as Pin<Box<dyn Send>>);
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::http::activity::Activity;

    /// A body of any length arrives unchanged in pieces, and its remaining length is known before each piece.
    #[tokio::test]
    async fn a_body_arrives_unchanged() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE + 7] {
            let text: Bytes = (0..=250).cycle().take(length).collect();
            let mut answer = Answer::new(Full::new(text.clone()), Activity::new().begin(None));
            assert_eq!(answer.size_hint().exact(), Some(length as u64));
            let mut got = Vec::new();
            while !answer.is_end_stream() {
                let Some(frame) = answer.frame().await else { break };
                let piece = frame.expect("infallible").into_data().expect("data");
                assert!(piece.len() <= PIECE);
                got.extend_from_slice(&piece);
                assert_eq!(answer.size_hint().exact(), Some((length - got.len()) as u64));
            }
            assert_eq!(got, text);
        }
    }

    /// A value that counts its drops.
    struct Dropped<T>(T, Arc<AtomicUsize>);

    impl<T> Drop for Dropped<T> {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl AsRef<[u8]> for Dropped<Vec<u8>> {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Body for Dropped<Full<Bytes>> {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Pin::new(&mut self.0).poll_frame(cx)
        }
    }

    /// The transport drops a body when it has the last piece. That piece keeps the body, but not the memory of its
    /// frame.
    #[tokio::test]
    async fn the_last_piece_keeps_the_body() {
        let [memory, body] = [(); 2].map(|()| Arc::<AtomicUsize>::default());
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        let frame = Bytes::from_owner(Dropped(vec![0; 2 * PIECE + 1], Arc::clone(&memory)));
        let mut answer = Answer::new(
            Dropped(Full::new(frame), Arc::clone(&body)),
            Activity::new().begin(None),
        );
        let mut last = None;
        for _ in 0..3 {
            last = Some(answer.frame().await.expect("a piece").expect("infallible"));
        }
        drop(answer);
        assert_eq!((count(&memory), count(&body)), (1, 0));
        drop(last);
        assert_eq!((count(&memory), count(&body)), (1, 1));
    }
}
