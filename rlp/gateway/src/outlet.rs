//! The hand-over of events from a stream's task to its connection, one event at a time.
//!
//! The connection takes an event when it has room for it. So a client that does not read delays its stream, and through
//! it the subscription at the doppler.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;
use weir_net::UnderWay;

use crate::connection::ConnectionHandle;

/// The sending side of a stream's events.
#[derive(Debug)]
pub(crate) struct Outlet {
    events: mpsc::Sender<Bytes>,
    connection: ConnectionHandle,
    /// The number of events that the connection had taken for earlier responses.
    before: u64,
    /// The number of events that were sent through this outlet.
    sent: u64,
}

/// The error of an outlet whose client has disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Outlet {
    /// Creates an outlet on a connection, and the body of the response that it feeds.
    pub(crate) fn new(connection: ConnectionHandle) -> (Self, Body) {
        // A capacity of one: the events behind it stay in the backlog, where they can be counted and sent again.
        let (events, receiver) = mpsc::channel(1);
        let body = Body::new(Inner::Stream(receiver, connection.clone()));
        let outlet = Self {
            events,
            // The connection may have carried earlier responses, so positions are relative to its present count.
            before: connection.taken(),
            connection,
            sent: 0,
        };
        (outlet, body)
    }

    /// Waits until an event may be sent. Cancel safe.
    pub(crate) async fn room(&self) -> Result<(), Gone> {
        self.events.reserve().await.map(drop).map_err(|_| Gone)
    }

    /// Sends an event if there is room. Returns whether there was.
    pub(crate) fn send(&mut self, event: Bytes) -> bool {
        let taken = self.events.try_send(event).is_ok();
        self.sent += u64::from(taken);
        taken
    }

    /// Returns how many events were sent.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns how many of the events are in the socket.
    pub(crate) fn written(&self) -> u64 {
        self.connection.flushed().saturating_sub(self.before)
    }

    /// Waits until the client has disconnected. Cancel safe.
    pub(crate) async fn gone(&self) {
        self.events.closed().await;
    }

    /// Returns the handle of the connection.
    pub(crate) fn connection(&self) -> ConnectionHandle {
        self.connection.clone()
    }

    /// Ends the response after the last event, and waits until all events are in the socket. Returns how many there
    /// were. It does not return while a connected client does not read.
    pub(crate) async fn finish(self) -> u64 {
        drop(self.events);
        self.connection.reaches(self.before + self.sent).await;
        self.sent
    }
}

/// The body of a response: a text, or the events of a stream.
#[derive(Debug)]
pub(crate) struct Body {
    inner: Inner,
    /// Keeps the request counted as under way until the response was sent.
    _under_way: Option<UnderWay>,
}

#[derive(Debug)]
enum Inner {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<Bytes>, ConnectionHandle),
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

    /// Returns the body with a mark that is held until the response was sent.
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
            // Counted when hyper takes the event, so that a flush after that covers it.
            Inner::Stream(events, connection) => events.poll_recv(cx).map(|event| event.inspect(|_| connection.take())),
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
