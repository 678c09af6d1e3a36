//! The body that a client sends, on its way to a backend.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::peer::Peer;

/// The body that a client sends. While the backend waits for more of it, the client has to keep up.
#[derive(Debug)]
pub(crate) struct ClientBody {
    body: Incoming,
    received: Arc<AtomicU64>,
    peer: Arc<Peer>,
    wanted: bool,
}

impl ClientBody {
    /// A body whose bytes are counted in `received`.
    pub(crate) const fn new(body: Incoming, received: Arc<AtomicU64>, peer: Arc<Peer>) -> Self {
        Self {
            body,
            received,
            peer,
            wanted: false,
        }
    }

    fn wants(&mut self, wants: bool) {
        if self.wanted != wants {
            self.wanted = wants;
            self.peer.watch.wants_body(wants);
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        this.wants(polled.is_pending());
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            this.received.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        self.wants(false);
    }
}
