//! The body of a backend's answer, which moves the connection that it comes from.
//!
//! When the answer has been read the connection lies down in the pool, from within the read of the last piece: whoever has read
//! an answer may rely on the connection being there.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use weir_platform_gorouter_table::{EndpointId, Lease};

use super::Exclusive;
use super::backends::Backends;

/// What a connection is for while an answer is read from it.
#[derive(Debug)]
pub(crate) enum Source {
    /// An HTTP/1.1 connection, which is kept after the answer.
    Kept(Box<Exclusive>, Home),
    /// An HTTP/1.1 connection that ends with the answer.
    Closing(Box<Exclusive>),
    /// An HTTP/2 connection, or an HTTP/1.1 connection that was given back already.
    Moved,
}

/// Where a connection lies down.
#[derive(Debug)]
pub(crate) enum Home {
    /// Among those to a backend.
    Backend(Arc<Backends>, EndpointId),
    /// Among those to a route service.
    Service(Arc<Backends>, Arc<str>),
}

/// The body of an answer. It counts as a request in flight of its backend until it is dropped or read.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    body: Incoming,
    source: Source,
    lease: Option<Lease>,
}

impl AnswerBody {
    /// The body of an answer whose head has been read. An answer without a body gives its connection back at once.
    pub(crate) fn new(body: Incoming, source: Source, lease: Option<Lease>, cx: &mut Context<'_>) -> Self {
        let mut answer = Self { body, source, lease };
        if answer.body.is_end_stream() {
            answer.finish(cx);
        }
        answer
    }

    /// The answer has been read: its connection is free, unless the backend or the request's body is not done with it.
    fn finish(&mut self, cx: &mut Context<'_>) {
        if let Source::Kept(mut connection, home) = std::mem::replace(&mut self.source, Source::Moved)
            && connection.is_usable(cx)
        {
            match home {
                Home::Backend(backends, backend) => backends.give_back(backend, connection),
                Home::Service(backends, service) => backends.give_back_service(service, connection),
            }
        }
        self.lease = None;
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        match &mut self.source {
            Source::Kept(connection, _) | Source::Closing(connection) => connection.drive(cx),
            Source::Moved => {}
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Pending => {
                this.drive(cx);
                Pin::new(&mut this.body).poll_frame(cx)
            }
            ready => ready,
        };
        let frame = ready!(polled);
        match &frame {
            Some(Ok(_)) if !this.body.is_end_stream() => {}
            Some(Ok(_)) | None => this.finish(cx),
            Some(Err(_)) => this.source = Source::Moved,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
