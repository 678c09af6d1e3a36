//! A request's body, which has to arrive in time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

/// How long a body may take in any case.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a longer one has to bring for each second of its own.
const BYTES_PER_SECOND: u64 = 16 * 1024;

/// The body of a request. One that comes too slowly (30 s, and one more for each 16 KiB) ends with an error.
#[derive(Debug)]
pub struct RequestBody<B = Incoming> {
    body: Pin<Box<B>>,
    begun: Instant,
    received: u64,
    /// Set while the next frame is waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What is wrong with a body.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<B> RequestBody<B> {
    pub(super) fn new(body: B) -> Self {
        Self {
            body: Box::pin(body),
            begun: Instant::now(),
            received: 0,
            deadline: None,
        }
    }

    fn deadline(&self) -> Instant {
        self.begun + PATIENCE + Duration::from_secs(self.received / BYTES_PER_SECOND)
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = this.body.as_mut().poll_frame(cx) {
            this.deadline = None;
            let received = |frame: &Frame<Bytes>| frame.data_ref().map_or(0, Bytes::len) as u64;
            let frame = frame.map(|frame| frame.inspect(|frame| this.received += received(frame)));
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = this.deadline();
        let sleep = this
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        std::task::ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Some(Err("the request's body did not arrive in time".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    /// How long a body is read that brings so many bytes a second for so long, and whether it came to its end.
    async fn read(bytes: usize, seconds: u64) -> (u64, bool) {
        let frames = futures::stream::iter(0..seconds).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![0; bytes])))
        });
        let mut body = RequestBody::new(StreamBody::new(frames));
        let start = Instant::now();
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return (start.elapsed().as_secs(), false);
            }
        }
        (start.elapsed().as_secs(), true)
    }

    /// A trickle is cut, however steady; a large body may take its time.
    #[tokio::test(start_paused = true)]
    async fn trickles_are_cut() {
        assert_eq!(read(1, 29).await, (29, true));
        assert_eq!(read(1, 600).await, (30, false));
        assert_eq!(read(8 * 1024, 50).await, (50, true));
        assert!(!read(8 * 1024, 600).await.1);
        assert_eq!(read(20 * 1024, 600).await, (600, true));
    }
}
