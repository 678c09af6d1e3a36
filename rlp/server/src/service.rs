//! The egress service, with the original's limits and error texts (logging §9).

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

use crate::stream::{ClientStream, Form, Place};
use crate::tags::TagForm;

/// How long the answer waits for the dopplers' word. One of ours says at once whether it takes the subscription; the
/// original says nothing before the first envelope.
const WORD: Duration = Duration::from_millis(500);

/// Refusals are logged this often, with how many there were.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

/// What a client is told when a doppler refuses its subscription, which is counted in `rejected_streams`. The doppler's
/// address is for the log only.
pub(crate) fn refusal(refused: &Refused, rejected_streams: &Counter<u64>) -> Status {
    rejected_streams.add(1, &[]);
    weir_service::limited!(warn, REFUSED_AGAIN, error = %refused, "stream ended: a doppler refuses its subscription");
    Status::new(
        refused.status.code(),
        format!("a doppler refuses the subscription: {}", refused.status.message()),
    )
}

/// `loggregator.v2.Egress`.
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
        let Some(place) = Place::take(&self.streams, self.max_streams) else {
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
        // `EgressRequest` has the same layout.
        let mut request = EgressBatchRequest::decode(message)
            .map_err(|error| Status::invalid_argument(format!("the request is not readable: {error}")))?;
        request.selectors = requested(&request.selectors, request.legacy_selector.take().as_ref());
        if request.selectors.is_empty() {
            return Err(Status::invalid_argument("Selectors cannot be empty"));
        }
        if request.selectors.iter().any(|selector| selector.message.is_none()) {
            return Err(Status::invalid_argument("Selectors must have a Message"));
        }
        if !batched {
            request.deterministic_name.clear();
        }
        let form = Form {
            tags: TagForm::requested(request.use_preferred_tags),
            batched,
        };
        let mut subscription = self.dopplers.subscribe(&request, Durability::Live);
        let opened = subscription.opened(WORD).await;
        opened.map_err(|refused| refusal(&refused, &self.rejected_streams))?;
        let stream = ClientStream::new(subscription, form, self.context.clone(), place);
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
