//! The body of a request, which has to arrive in time and is charged to the budgets as it arrives.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::{Instant, Sleep};
use weir_error::{Classify, ErrorKind};

use crate::port::Exceeded;
use crate::port::budget::Charge;

/// How long any body may take to arrive.
const BASE_TIME: Duration = Duration::from_secs(30);

/// How many bytes have to arrive for each second beyond [`BASE_TIME`].
const BYTES_PER_SECOND: u64 = 16 * 1024;

/// Why the body of a request could not be read.
#[derive(Debug, Error)]
pub enum BodyError {
    /// The body has more bytes than its route accepts.
    #[error("body of the request is larger than `{limit}` bytes")]
    TooLarge {
        /// The largest body that the route accepts, in bytes.
        limit: usize,
    },
    /// The body arrived too slowly.
    #[error("body of the request did not arrive in time")]
    TooSlow,
    /// The body does not fit into a budget beside the other requests under way.
    #[error(transparent)]
    NoRoom(#[from] Exceeded),
    /// The client closed the connection or broke the protocol.
    #[error("body of the request broke off")]
    BrokeOff,
}

impl Classify for BodyError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::TooLarge,
            Self::TooSlow | Self::BrokeOff => ErrorKind::InvalidInput,
            Self::NoRoom(exceeded) => exceeded.kind(),
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::NoRoom(_))
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::TooLarge { .. } => Some("send a smaller body".to_owned()),
            Self::TooSlow | Self::BrokeOff => None,
            Self::NoRoom(exceeded) => exceeded.hint(),
        }
    }
}

impl BodyError {
    /// Finds the error of a [`RequestBody`] among the causes of `error`: web frameworks wrap it. Any other error is the
    /// transport's.
    fn of(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            match error.downcast_ref() {
                Some(Self::NoRoom(exceeded)) => return Self::NoRoom(*exceeded),
                Some(Self::TooSlow) => return Self::TooSlow,
                _ => cause = error.source(),
            }
        }
        Self::BrokeOff
    }
}

/// Reads a request's body of at most `limit` bytes. A larger body is read up to the limit, whatever length it
/// announces. A client of HTTP/1.1 whose body is a little too large has then sent all of it, and sees the answer
/// instead of a reset.
///
/// # Errors
/// When the body is larger, does not arrive in time, or does not fit into a budget.
pub async fn read_body<B>(body: B, limit: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let mut body = std::pin::pin!(body);
    let mut whole = Bytes::new();
    let mut gathered = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| BodyError::of(&*error.into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.len() + gathered.len() + data.len() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        // Most bodies come in one frame, which is then returned without a copy.
        if whole.is_empty() && gathered.is_empty() {
            whole = data;
        } else {
            gathered.extend_from_slice(&std::mem::take(&mut whole));
            gathered.extend_from_slice(&data);
        }
    }
    Ok(if gathered.is_empty() { whole } else { gathered.freeze() })
}

/// The body of a request. It ends with an error if it arrives too slowly (more than 30 s, and one second for each 16
/// KiB), or if it does not fit into a budget beside the other requests under way.
#[derive(Debug)]
pub struct RequestBody<B = Incoming> {
    body: Pin<Box<B>>,
    held: Arc<Charge>,
    begun: Instant,
    received: u64,
    /// A timer that is set while the body waits for its next frame.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// The error of a body.
type BoxError = Box<dyn Error + Send + Sync>;

impl<B> RequestBody<B> {
    pub(super) fn new(body: B, held: Arc<Charge>) -> Self {
        Self {
            body: Box::pin(body),
            held,
            begun: Instant::now(),
            received: 0,
            deadline: None,
        }
    }

    fn deadline(&self) -> Instant {
        self.begun + BASE_TIME + Duration::from_secs(self.received / BYTES_PER_SECOND)
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
            let Some(Ok(frame)) = frame else {
                return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
            };
            let received = frame.data_ref().map_or(0, Bytes::len);
            this.received += received as u64;
            let charged = this.held.add(received).map(|()| frame);
            return Poll::Ready(Some(charged.map_err(|exceeded| BodyError::NoRoom(exceeded).into())));
        }
        // The timer exists only while the body waits, so that a body which has arrived already costs none.
        let deadline = this.deadline();
        let sleep = this
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        std::task::ready!(sleep.as_mut().poll(cx));
        Poll::Ready(Some(Err(BodyError::TooSlow.into())))
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

    /// Reads a body that brings `bytes` bytes each second for `seconds` seconds. Returns how many seconds that took,
    /// and whether the whole body was read.
    async fn read(bytes: usize, seconds: u64) -> (u64, bool) {
        let frames = futures::stream::iter(0..seconds).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![0; bytes])))
        });
        let mut body = RequestBody::new(StreamBody::new(frames), Arc::new(Charge::within(usize::MAX)));
        let start = Instant::now();
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return (start.elapsed().as_secs(), false);
            }
        }
        (start.elapsed().as_secs(), true)
    }

    /// A body that arrives in a trickle is refused, however steadily it comes. A large body may take longer.
    #[tokio::test(start_paused = true)]
    async fn slow_bodies_are_refused() {
        assert_eq!(read(1, 29).await, (29, true));
        assert_eq!(read(1, 600).await, (30, false));
        assert_eq!(read(8 * 1024, 50).await, (50, true));
        assert!(!read(8 * 1024, 600).await.1);
        assert_eq!(read(20 * 1024, 600).await, (600, true));
    }

    /// Reads a body that comes in pieces of these sizes, with a budget of `room` bytes and a limit of `limit` bytes.
    /// Returns the length of the body, or the text of the error.
    async fn read_within(pieces: &[usize], room: usize, limit: usize) -> Result<usize, String> {
        let frames: Vec<_> = pieces
            .iter()
            .map(|size| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![b'x'; *size]))))
            .collect();
        let held = Arc::new(Charge::within(room));
        let body = RequestBody::new(StreamBody::new(futures::stream::iter(frames)), Arc::clone(&held));
        // axum wraps the errors of a body in this way.
        let body = body.map_err(|error| Box::new(Wrapped(error)));
        let read = read_body(body, limit).await;
        read.map(|bytes| bytes.len()).map_err(|error| error.to_string())
    }

    /// An error around the error of a body.
    #[derive(Debug, Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] BoxError);

    /// A body within its route's limit and its connection's budget is read. The error for a larger one says which of
    /// the two it exceeds.
    #[tokio::test]
    async fn bodies_are_bounded() {
        assert_eq!(read_within(&[], 0, 0).await, Ok(0));
        assert_eq!(read_within(&[10], 10, 10).await, Ok(10));
        assert_eq!(read_within(&[4, 0, 5, 1], 10, 10).await, Ok(10));
        let large = "body of the request is larger than `9` bytes";
        assert_eq!(read_within(&[4, 5, 1], 10, 9).await, Err(large.to_owned()));
        let full = "requests under way on this connection hold more than `9` bytes";
        assert_eq!(read_within(&[4, 5, 1], 9, 10).await, Err(full.to_owned()));
    }
}
