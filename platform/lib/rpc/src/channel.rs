//! Client connections: mTLS by name, reconnecting by themselves.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use http::Uri;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status, Streaming};
use weir_tls::ClientTls;

use crate::codec::{Frame, RawCodec};
use crate::server::{CONNECTION_WINDOW, FRAME_SIZE, STREAM_WINDOW};
use crate::socket::Socket;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Messages that a client of ours accepts: a full batch of the largest lines.
const MAX_MESSAGE: usize = 64 << 20;

/// Whom to connect to.
#[derive(Debug, Clone)]
pub struct Target {
    /// `host:port`.
    pub address: String,
    /// The name that the server's certificate must carry (contract §1): the address does not matter.
    pub server_name: String,
    /// Our identity, and whom we trust.
    pub tls: ClientTls,
}

/// A connection that is made when it is first used, and made again after it was lost.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: tonic::transport::Channel,
    address: Arc<str>,
}

impl Channel {
    /// A channel to `target`; connects when it is first used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn new(target: &Target) -> Self {
        let address: Arc<str> = target.address.as_str().into();
        let tls = target.tls.with_alpn(&[b"h2"]);
        let server_name = target.server_name.clone();
        let dial = {
            let address = Arc::clone(&address);
            move |_: Uri| {
                let (address, tls, server_name) = (Arc::clone(&address), tls.clone(), server_name.clone());
                async move {
                    let name = rustls_pki_types::ServerName::try_from(server_name)
                        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                    let stream = TcpStream::connect(&*address).await?;
                    let stream = Socket::new(stream)?;
                    Ok::<_, io::Error>(TokioIo::new(tls.connector().connect(name, stream).await?))
                }
            }
        };
        // The scheme is a formality: the connector below does the TLS itself. A name that is no host name fails when it is
        // dialled, where the error can be told.
        let authority = Endpoint::from_shared(format!("http://{}", target.server_name));
        let inner = authority
            .unwrap_or_else(|_| Endpoint::from_static("http://invalid"))
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME_SIZE)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(tower::service_fn(dial));
        Self { inner, address }
    }

    /// Where it connects to.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The channel for tonic's generated clients.
    #[must_use]
    pub fn tonic(&self) -> tonic::transport::Channel {
        self.inner.clone()
    }

    /// Calls the method at `path` with a stream of messages; returns when the server has sent its headers, which the
    /// original does for client streams only at their end.
    pub async fn stream(
        &self,
        path: &'static str,
        request: Request<impl Stream<Item = Frame> + Send + 'static>,
    ) -> Result<Response<Streaming<Bytes>>, Status> {
        let mut grpc = Grpc::new(self.inner.clone()).max_decoding_message_size(MAX_MESSAGE);
        grpc.ready()
            .await
            .map_err(|error| Status::unavailable(error_chain(&error)))?;
        grpc.streaming(request, PathAndQuery::from_static(path), RawCodec).await
    }

    /// Calls the method at `path` with one message and returns the one message of its answer.
    pub async fn unary(&self, path: &'static str, message: impl Into<Frame>) -> Result<Bytes, Status> {
        let message = message.into();
        let request = Request::new(futures::stream::once(async move { message }));
        let mut answer = self.stream(path, request).await?.into_inner();
        let first = answer
            .message()
            .await?
            .ok_or_else(|| Status::internal("the answer has no message"))?;
        answer.trailers().await?;
        Ok(first)
    }
}

/// An error with its causes: tonic's transport errors say nothing without them.
fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
