//! Services over raw messages, as tonic's transport wants them.

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

/// Puts a [`RawService`] on a [`crate::GrpcServer`].
#[derive(Debug)]
pub struct RawServer<S> {
    service: Arc<S>,
    max_message: usize,
}

impl<S> RawServer<S> {
    /// Serves `service`; messages above `max_message` bytes are refused with `RESOURCE_EXHAUSTED`.
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
            let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let place = request.extensions().get::<Place>();
            let under_way = place.map(Place::begin);
            let held = place.map(Place::charge);
            let request = request.map(|body| Messages::new(body, End::Plain, max_message).charged_to(held));
            let answer = match service.call(&method, Request::from_http(request)).await {
                Ok(answer) => answer,
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
