//! Between a stream's task and its connection: one event at a time.
//!
//! The connection takes an event when it has room for it, so that a client that does not read holds its stream back, all
//! the way to the doppler.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;
use weir_net::UnderWay;

use crate::line::Line;

/// Where a stream's events go.
#[derive(Debug)]
pub(crate) struct Outlet {
    events: mpsc::Sender<Bytes>,
    line: Line,
    /// What the connection had taken for earlier answers.
    before: u64,
    /// Events that were sent here.
    sent: u64,
}

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Outlet {
    /// An outlet on a connection, and the body of the answer that it feeds.
    pub(crate) fn new(line: Line) -> (Self, Body) {
        let (events, receiver) = mpsc::channel(1);
        let body = Body::new(Inner::Stream(receiver, line.clone()));
        let outlet = Self {
            events,
            before: line.taken(),
            line,
            sent: 0,
        };
        (outlet, body)
    }

    /// Waits until an event may be sent. Cancel safe.
    pub(crate) async fn room(&self) -> Result<(), Gone> {
        self.events.reserve().await.map(drop).map_err(|_| Gone)
    }

    /// Sends an event, if there is room; whether there was.
    pub(crate) fn send(&mut self, event: Bytes) -> bool {
        let taken = self.events.try_send(event).is_ok();
        self.sent += u64::from(taken);
        taken
    }

    /// How many events were sent.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// How many of them lie in the socket.
    pub(crate) fn written(&self) -> u64 {
        self.line.flushed().saturating_sub(self.before)
    }

    /// Waits until the client is gone. Cancel safe.
    pub(crate) async fn gone(&self) {
        self.events.closed().await;
    }

    /// The connection.
    pub(crate) fn line(&self) -> Line {
        self.line.clone()
    }

    /// There will be no more events: the answer ends behind the last one. Waits until all of them lie in the socket;
    /// returns how many. Does not end where the client reads no more.
    pub(crate) async fn finish(self) -> u64 {
        drop(self.events);
        self.line.reaches(self.before + self.sent).await;
        self.sent
    }
}

/// The body of an answer: a text, or a stream's events.
#[derive(Debug)]
pub(crate) struct Body {
    inner: Inner,
    /// The request on its connection.
    _under_way: Option<UnderWay>,
}

#[derive(Debug)]
enum Inner {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<Bytes>, Line),
}

impl Body {
    pub(crate) const fn whole(text: Bytes) -> Self {
        Self::new(Inner::Whole(Some(text)))
    }

    const fn new(inner: Inner) -> Self {
        Self {
            inner,
            _under_way: None,
        }
    }

    /// The answer to a request that is under way until the answer was sent.
    pub(crate) fn under_way(self, under_way: UnderWay) -> Self {
        Self {
            _under_way: Some(under_way),
            ..self
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match &mut self.inner {
            Inner::Whole(text) => Poll::Ready(text.take()),
            Inner::Stream(events, line) => events.poll_recv(cx).map(|event| event.inspect(|_| line.take())),
        };
        data.map(|data| data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.inner, Inner::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Whole(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Inner::Stream(..) => SizeHint::default(),
        }
    }
}
