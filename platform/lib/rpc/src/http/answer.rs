//! An answer's body, handed to the transport piece by piece: what a client does not read stays here, where it is counted,
//! and not in the transport's buffers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::activity::Exchange;

/// Largest piece. HTTP/2 buffers a piece as a whole, whatever room the client has.
const PIECE: usize = 64 * 1024;

/// A body that notes when the transport comes for more.
pub(super) struct Answer<B> {
    body: Pin<Box<B>>,
    /// What is left of a frame that was larger than a piece.
    rest: Bytes,
    exchange: Exchange,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, exchange: Exchange) -> Self {
        Self {
            body: Box::pin(body),
            rest: Bytes::new(),
            exchange,
        }
    }

    fn give(&mut self, mut data: Bytes) -> Frame<Bytes> {
        self.rest = data.split_off(data.len().min(PIECE));
        self.exchange.given();
        Frame::data(data)
    }
}

impl<B: Body<Data = Bytes>> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        this.exchange.wanted();
        if !this.rest.is_empty() {
            let rest = std::mem::take(&mut this.rest);
            return Poll::Ready(Some(Ok(this.give(rest))));
        }
        Poll::Ready(match ready!(this.body.as_mut().poll_frame(cx)) {
            Some(Ok(frame)) => Some(Ok(match frame.into_data() {
                Ok(data) => this.give(data),
                Err(trailers) => trailers,
            })),
            other => other,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, inner) = (self.rest.len() as u64, self.body.size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(inner.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;
    use crate::http::activity::Activity;

    /// Nothing is lost or put in another order, and the length is known before.
    #[tokio::test]
    async fn a_body_stays_what_it_is() {
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 5 * PIECE + 7] {
            let text: Bytes = (0..=250).cycle().take(length).collect();
            let mut answer = Answer::new(Full::new(text.clone()), Activity::new().begin());
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
}
