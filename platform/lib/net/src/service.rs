//! gRPC services that take and return encoded messages, in the form that tonic's transport serves.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use http::HeaderValue;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Request, Response, Status};

use crate::frame::Frame;
use crate::messages::{End, Messages};
use crate::outgoing::Outgoing;
use crate::port::Place;

pub(crate) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The messages of an answer, in order. An error ends the answer and is its gRPC status.
pub type FrameStream = Pin<Box<dyn Stream<Item = Result<Frame, Status>> + Send>>;

/// A gRPC service that receives and sends encoded messages.
///
/// Every method has a stream of messages in both directions, because all four kinds of gRPC method are that on the
/// wire. A unary method reads its request with [`only_message`] and answers with [`one_frame`].
#[tonic::async_trait]
pub trait RawService: Send + Sync + 'static {
    /// The full name of the service: its package, a dot, and its own name.
    const NAME: &'static str;

    /// Serves one call of `method`, which is the method's name without the service. An implementation answers an
    /// unknown method with [`Status::unimplemented`].
    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status>;
}

/// Reads the single message of a unary call.
pub async fn only_message(request: Request<Messages>) -> Result<Bytes, Status> {
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

/// Adapts a [`RawService`] to tower, so that it can be added to a [`crate::GrpcServer`].
#[derive(Debug)]
pub struct RawServer<S> {
    service: Arc<S>,
    max_message: usize,
}

impl<S> RawServer<S> {
    /// Wraps `service`. A message above `max_message` bytes is refused with `RESOURCE_EXHAUSTED`.
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
        let service = Arc::clone(&self.service);
        let max_message = self.max_message;
        Box::pin(async move {
            // The path is `/package.Service/Method`, and the router has matched the service already.
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            // Absent where a test calls the service without a connection.
            let place = request.extensions().get::<Place>();
            let under_way = place.map(Place::begin);
            let held = place.map(Place::charge);
            let request = request.map(|body| Messages::new(body, End::Plain, max_message).charged_to(held));
            let answer = match service.call(&method, Request::from_http(request)).await {
                Ok(answer) => answer,
                // A failed call has no messages, so its status goes into the headers instead of trailers.
                Err(status) => return Ok(status.into_http()),
            };
            let (metadata, frames, extensions) = answer.into_parts();
            let mut answer = http::Response::new(Body::new(Outgoing::answer(frames, under_way)));
            *answer.headers_mut() = metadata.into_headers();
            *answer.extensions_mut() = extensions;
            answer.headers_mut().insert(http::header::CONTENT_TYPE, GRPC);
            Ok(answer)
        })
    }
}
