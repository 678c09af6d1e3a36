//! An HTTP/1.1 connection to a backend, which belongs to one request at a time.
//!
//! Whoever has the connection moves it: there is no task behind it. hyper's sender and its connection are therefore polled by
//! one future, and a wake-up between them costs nothing.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_util::rt::TokioIo;

use super::wire::Counters;
use super::{RequestBody, Wire};

/// An HTTP/1.1 connection to a backend. It is passed from hand to hand in a box that is made with it.
#[derive(Debug)]
pub(crate) struct Exclusive {
    sender: http1::SendRequest<RequestBody>,
    connection: http1::Connection<TokioIo<Wire>, RequestBody>,
    counters: Arc<Counters>,
    /// Whether HTTP is over on this connection: it ended, failed, or changed to another protocol.
    over: bool,
}

impl Exclusive {
    /// Begins HTTP on a new connection, whose answers may have heads of `head` bytes.
    pub(crate) async fn open(wire: Wire, head: usize) -> Result<Box<Self>, hyper::Error> {
        let counters = wire.counters();
        let mut builder = http1::Builder::new();
        builder.title_case_headers(true).max_buf_size(head);
        let (sender, connection) = builder.handshake(TokioIo::new(wire)).await?;
        Ok(Box::new(Self {
            sender,
            connection,
            counters,
            over: false,
        }))
    }

    /// What the connection has carried.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Moves the connection on. Errors reach the request and its answer, so none is returned.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.over && Pin::new(&mut self.connection).poll_without_shutdown(cx).is_ready() {
            self.over = true;
        }
    }

    /// Whether an idle connection can take a request: the backend has neither ended it nor sent anything.
    pub(crate) fn is_usable(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        !self.over && matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())))
    }

    /// Sends a request and waits for the head of its answer; a request of which nothing was sent comes back with the error. Not
    /// cancel safe: the connection is of no use if this is dropped.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let (connection, over) = (&mut self.connection, &mut self.over);
        poll_fn(move |cx| {
            if !*over && Pin::new(&mut *connection).poll_without_shutdown(cx).is_ready() {
                *over = true;
            }
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// After an answer that changes the protocol: the wire, and what was read from it beyond HTTP.
    pub(crate) async fn into_upgraded(mut self) -> (Wire, Bytes) {
        poll_fn(|cx| {
            self.drive(cx);
            match self.over {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        let parts = self.connection.into_parts();
        (parts.io.into_inner(), parts.read_buf)
    }
}
