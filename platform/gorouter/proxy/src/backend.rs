//! Connections to backends.
//!
//! An HTTP/1.1 connection belongs to the request that it serves: the request's own future and the body of its answer move it
//! ([`Exclusive`]), so that no task has to be woken for it, and a client that leaves takes it along. In between it lies in the
//! [`IdlePool`], which is bounded over all backends. An HTTP/2 connection is shared by requests and moved by a task of its own
//! ([`Shared`]).

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::client_body::ClientBody;

mod answer;
mod backends;
mod dial;
mod exclusive;
mod failure;
mod pool;
mod shared;
mod wire;

pub(crate) use answer::{AnswerBody, Home};
pub(crate) use backends::{Answered, Backends, Effort, Failed, Ready, Receiver, Service};
pub(crate) use dial::BackendTls;
pub(crate) use exclusive::Exclusive;
pub(crate) use failure::{Failure, Progress};
pub(crate) use wire::Wire;

/// The body of a request on its way to a backend.
#[derive(Debug)]
pub(crate) enum RequestBody {
    /// There is none.
    Empty,
    /// What the client sends, counted.
    Streaming(ClientBody),
    /// The body has been given to a connection.
    Sent,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Empty | Self::Sent => Poll::Ready(None),
            Self::Streaming(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Sent => true,
            Self::Streaming(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Sent => SizeHint::with_exact(0),
            Self::Streaming(body) => body.size_hint(),
        }
    }
}
