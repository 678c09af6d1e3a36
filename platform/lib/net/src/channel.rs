//! gRPC client connections: mTLS with a fixed server name, reconnecting after a loss.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};
use weir_tls::ClientTls;

use crate::frame::Frame;
use crate::messages::{End, Messages};
use crate::outgoing::Outgoing;
use crate::server::{CONNECTION_WINDOW, FRAME_SIZE, STREAM_WINDOW};
use crate::service::GRPC;
use crate::socket::{READ_BUFFER, Socket};

/// How long TCP and TLS may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a client pings its server.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How long a ping may stay unanswered before the connection is given up.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The largest message that a client accepts, in bytes: enough for a full batch of the largest log lines.
const MAX_MESSAGE: usize = 64 << 20;

/// A server to connect to.
#[derive(Debug, Clone)]
pub struct Target {
    /// The address as `host:port`.
    pub address: String,
    /// The name that the server's certificate must carry (logging §1). The host of the address is not compared.
    pub server_name: String,
    /// The client's own certificate, and the CA that it trusts.
    pub tls: ClientTls,
}

/// A gRPC connection that is made on first use, and again after it was lost. Clones share the connection.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: tonic::transport::Channel,
    address: Arc<str>,
}

impl Channel {
    /// A channel to `target`, which connects on first use.
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
                    // `Socket` gathers small writes itself, so the kernel need not.
                    stream.set_nodelay(true)?;
                    let stream = Socket::new(stream, READ_BUFFER, true);
                    Ok::<_, io::Error>(TokioIo::new(tls.connector().connect(name, stream).await?))
                }
            }
        };
        // The scheme is `http` because the connector below does the TLS itself. A name that is no host name fails when
        // it is dialled, where the caller gets the error.
        let authority = Endpoint::from_shared(format!("http://{}", target.server_name));
        let inner = authority
            .unwrap_or_else(|_| Endpoint::from_static("http://invalid"))
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME_SIZE)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            // A peer that has vanished is noticed before the next call, which would otherwise wait for its timeout.
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(tower::service_fn(dial));
        Self { inner, address }
    }

    /// The address of the server as `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The underlying channel, for clients that tonic generates.
    #[must_use]
    pub fn tonic(&self) -> tonic::transport::Channel {
        self.inner.clone()
    }

    /// Calls the method at `path` with a stream of messages. Returns when the server has sent its headers, which the
    /// original does for a client stream only when the stream has ended.
    pub async fn stream(
        &self,
        path: &'static str,
        request: Request<impl Stream<Item = Frame> + Send + 'static>,
    ) -> Result<Response<Messages>, Status> {
        let (metadata, _, frames) = request.into_parts();
        let body = Body::new(Outgoing::request(Box::pin(frames.map(Ok))));
        let mut request = http::Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = Uri::from_static(path);
        *request.headers_mut() = metadata.into_headers();
        // gRPC requires this header. It shows proxies that the client understands trailers.
        request
            .headers_mut()
            .insert(http::header::TE, HeaderValue::from_static("trailers"));
        request.headers_mut().insert(http::header::CONTENT_TYPE, GRPC);

        let mut channel = self.inner.clone();
        let unavailable = |error: tonic::transport::Error| Status::unavailable(weir_error::chain(&error));
        // Waits until the connection is made. The error of a failed attempt comes from here, too.
        let ready = std::future::poll_fn(|cx| tower::Service::poll_ready(&mut channel, cx));
        ready.await.map_err(unavailable)?;
        let answer = tower::Service::call(&mut channel, request).await.map_err(unavailable)?;
        if answer.status() != http::StatusCode::OK {
            return Err(Status::unknown(format!(
                "the server answered with HTTP status {}",
                answer.status()
            )));
        }
        // gRPC allows a server to send the status in the headers, instead of in trailers, where the answer has no
        // message.
        let end = match Status::from_header_map(answer.headers()) {
            Some(status) if status.code() != tonic::Code::Ok => return Err(status),
            Some(_) => End::Plain,
            None => End::Status,
        };
        let (head, body) = answer.into_parts();
        let mut response = Response::new(Messages::new(body, end, MAX_MESSAGE));
        *response.metadata_mut() = tonic::metadata::MetadataMap::from_headers(head.headers);
        Ok(response)
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
        // The status comes in the trailers after the message, so the call has succeeded only once those are read.
        answer.message().await?;
        Ok(first)
    }
}
