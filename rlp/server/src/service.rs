//! The egress service, with the limits and error texts of the original (logging §9).

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use futures::StreamExt;
use opentelemetry::metrics::Counter;
use prost::Message;
use tonic::{Request, Response, Status};
use weir_envelope::selector::requested;
use weir_flow::LogContext;
use weir_net::{FrameStream, Messages, RawService};
use weir_proto::loggregator_v2::EgressBatchRequest;
use weir_rpc::subscriber::{Dopplers, Durability, Refused};

use crate::stream::{ClientStream, Form, StreamPermit};
use crate::tags::TagForm;

/// How long a client's call waits for the dopplers. A doppler of Weir answers at once whether it accepts the
/// subscription. The original's sends nothing before the first envelope.
const FIRST_ANSWER: Duration = Duration::from_millis(500);

/// How often refusals are logged. The log says how many there were.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

/// Returns the status for a client whose subscription a doppler refuses, and counts it in `rejected_streams`. The
/// doppler's address appears in the log only.
pub(crate) fn refusal(refused: &Refused, rejected_streams: &Counter<u64>) -> Status {
    rejected_streams.add(1, &[]);
    weir_service::limited!(warn, REFUSED_AGAIN, error = %refused, "stream ended: a doppler refuses its subscription");
    Status::new(
        refused.status.code(),
        format!("a doppler refuses the subscription: {}", refused.status.message()),
    )
}

/// The gRPC service `loggregator.v2.Egress`.
#[derive(Debug)]
pub(crate) struct EgressService {
    pub(crate) dopplers: Arc<Dopplers>,
    pub(crate) streams: Arc<AtomicUsize>,
    pub(crate) max_streams: usize,
    pub(crate) rejected_streams: Counter<u64>,
    pub(crate) context: LogContext,
}

#[tonic::async_trait]
impl RawService for EgressService {
    const NAME: &'static str = "loggregator.v2.Egress";

    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        let batched = match method {
            "BatchedReceiver" => true,
            "Receiver" => false,
            _ => return Err(Status::unimplemented(format!("method `{method}` does not exist"))),
        };
        // Before the request is read, so that a full RLP answers at once.
        let Some(permit) = StreamPermit::take(&self.streams, self.max_streams) else {
            self.rejected_streams.add(1, &[]);
            return Err(Status::resource_exhausted(format!(
                "unable to create stream, max egress streams reached: {}",
                self.max_streams
            )));
        };
        let message = request
            .into_inner()
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("the request has no message"))?;
        // `EgressRequest` is encoded like `EgressBatchRequest`.
        let mut request = EgressBatchRequest::decode(message)
            .map_err(|error| Status::invalid_argument(format!("the request is not readable: {error}")))?;
        request.selectors = requested(&request.selectors, request.legacy_selector.take().as_ref());
        if request.selectors.is_empty() {
            return Err(Status::invalid_argument("Selectors cannot be empty"));
        }
        if request.selectors.iter().any(|selector| selector.message.is_none()) {
            return Err(Status::invalid_argument("Selectors must have a Message"));
        }
        // The original's `Receiver` has no deterministic name, so a client cannot set one.
        if !batched {
            request.deterministic_name.clear();
        }
        let form = Form {
            tags: TagForm::requested(request.use_preferred_tags),
            batched,
        };
        let mut subscription = self.dopplers.subscribe(&request, Durability::Live);
        // A doppler that refuses does so at once. Without this wait, the client would get a stream that ends, and not
        // an error.
        let opened = subscription.opened(FIRST_ANSWER).await;
        opened.map_err(|refused| refusal(&refused, &self.rejected_streams))?;
        let stream = ClientStream::new(subscription, form, self.context.clone(), permit);
        let rejected_streams = self.rejected_streams.clone();
        let frames = futures::stream::unfold(Some(stream), move |stream| {
            let rejected_streams = rejected_streams.clone();
            async move {
                let mut stream = stream?;
                match stream.next().await {
                    Ok(frame) => frame.map(|frame| (Ok(frame), Some(stream))),
                    Err(refused) => Some((Err(refusal(&refused, &rejected_streams)), None)),
                }
            }
        });
        Ok(Response::new(frames.boxed()))
    }
}
