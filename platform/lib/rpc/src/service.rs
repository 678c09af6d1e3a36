//! Services over raw messages, as tonic's transport wants them.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use crate::codec::{Frame, RawCodec};

/// The messages of an answer.
pub type FrameStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

/// A gRPC service whose messages stay bytes.
///
/// Every method is a stream of messages both ways, which is what all four kinds of gRPC method are on the wire: a unary
/// method reads [`only_message`] and answers [`one_frame`].
#[tonic::async_trait]
pub trait RawService: Send + Sync + 'static {
    /// The full name: package and service.
    const NAME: &'static str;

    /// Serves one call of `method` (its bare name). An unknown one is answered with [`Status::unimplemented`].
    async fn call(&self, method: &str, request: Request<Streaming<Bytes>>) -> Result<Response<FrameStream>, Status>;
}

/// Reads the single message of a unary call.
pub async fn only_message(request: Request<Streaming<Bytes>>) -> Result<Bytes, Status> {
    let mut messages = request.into_inner();
    messages
        .message()
        .await?
        .ok_or_else(|| Status::invalid_argument("the request has no message"))
}

/// Answers a call with a single message.
#[must_use]
pub fn one_frame(frame: impl Into<Frame>) -> Response<FrameStream> {
    let frame = frame.into();
    Response::new(futures::stream::once(async move { Ok(frame) }).boxed())
}

/// Puts a [`RawService`] on a [`crate::GrpcServer`].
#[derive(Debug)]
pub struct RawServer<S> {
    service: Arc<S>,
    max_message: usize,
}

impl<S> RawServer<S> {
    /// Serves `service`; messages above `max_message` bytes are refused with `OUT_OF_RANGE`.
    #[must_use]
    pub const fn new(service: Arc<S>, max_message: usize) -> Self {
        Self { service, max_message }
    }
}

impl<S> Clone for RawServer<S> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            max_message: self.max_message,
        }
    }
}

impl<S: RawService> NamedService for RawServer<S> {
    const NAME: &'static str = S::NAME;
}

impl<S: RawService> tower::Service<http::Request<Body>> for RawServer<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let call = Call {
            service: Arc::clone(&self.service),
            method,
            _name: PhantomData::<S>,
        };
        let mut grpc = Grpc::new(RawCodec).max_decoding_message_size(self.max_message);
        Box::pin(async move { Ok(grpc.streaming(call, request).await) })
    }
}

struct Call<S> {
    service: Arc<S>,
    method: String,
    _name: PhantomData<S>,
}

impl<S: RawService> StreamingService<Bytes> for Call<S> {
    type Response = Frame;
    type ResponseStream = FrameStream;
    type Future = BoxFuture<'static, Result<Response<FrameStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let service = Arc::clone(&self.service);
        let method = std::mem::take(&mut self.method);
        Box::pin(async move { service.call(&method, request).await })
    }
}
