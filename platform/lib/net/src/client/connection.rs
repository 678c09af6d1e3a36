//! A connection whose bytes are moved by the future that waits for its answer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

/// An open HTTP/1.1 connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// When the connection was opened.
    pub(super) opened: Instant,
    sender: SendRequest<Full<Bytes>>,
    transport: Transport,
}

/// The future that moves the bytes of a connection; `None` once the connection has ended.
#[derive(Debug)]
struct Transport(Option<Pin<Box<Http1>>>);

type Http1 = http1::Connection<TokioIo<TlsStream<TcpStream>>, Full<Bytes>>;

/// The body of an answer, which is read as it arrives. Dropping it closes the connection.
#[derive(Debug)]
pub struct AnswerBody {
    incoming: Incoming,
    connection: Connection,
}

impl Transport {
    /// Reads and writes what can be read and written without waiting. Its error needs no handling here: `hyper` reports
    /// it to the future that waits for the answer as well.
    fn poll_move(&mut self, cx: &mut Context<'_>) {
        if let Some(transport) = &mut self.0
            && transport.as_mut().poll(cx).is_ready()
        {
            self.0 = None;
        }
    }
}

impl Connection {
    pub(super) async fn over(stream: TlsStream<TcpStream>) -> hyper::Result<Self> {
        let (sender, transport) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            opened: Instant::now(),
            sender,
            transport: Transport(Some(Box::pin(transport))),
        })
    }

    /// Whether the server has kept the connection open.
    pub(super) async fn is_open(&mut self) -> bool {
        poll_fn(|cx| {
            // Reads first, so that a close that has arrived in the meantime is seen.
            self.transport.poll_move(cx);
            Poll::Ready(self.transport.0.is_some() && !self.sender.is_closed())
        })
        .await
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn ask(mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<AnswerBody>> {
        let answer = {
            let Self { sender, transport, .. } = &mut self;
            let mut asking = pin!(async {
                sender.ready().await?;
                sender.send_request(request).await
            });
            poll_fn(|cx| {
                transport.poll_move(cx);
                asking.as_mut().poll(cx)
            })
            .await?
        };
        Ok(answer.map(|incoming| AnswerBody {
            incoming,
            connection: self,
        }))
    }
}

impl AnswerBody {
    /// Returns the connection for another request. It can carry one only after the last frame was read.
    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        self.connection.transport.poll_move(cx);
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
