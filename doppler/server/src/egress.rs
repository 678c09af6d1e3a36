//! The egress service.

use std::sync::Arc;

use prost::Message;
use tonic::{Request, Response, Status};
use weir_doppler_router::{Request as Subscription, Router};
use weir_envelope::selector::{Selector, requested};
use weir_proto::loggregator_v2::EgressBatchRequest;
use weir_rpc::egress::{Acknowledges, Egress};
use weir_rpc::{FrameStream, Messages, RawService};

/// Most subscriptions of one doppler, as in the original.
const MAX_SUBSCRIPTIONS: usize = 2000;

/// Most selectors of one subscription, and the longest name in one.
const MAX_SELECTORS: usize = 10_000;

/// `loggregator.v2.Egress`, out of the router.
#[derive(Debug)]
pub(crate) struct EgressService {
    pub(crate) router: Arc<Router>,
    pub(crate) egress: Arc<Egress>,
}

#[tonic::async_trait]
impl RawService for EgressService {
    const NAME: &'static str = "loggregator.v2.Egress";

    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        if method != "BatchedReceiver" {
            return Err(Status::unimplemented(format!(
                "method `{method}` is not served by a doppler; ask an RLP"
            )));
        }
        let acknowledges = Acknowledges::of(&request);
        // Acknowledgements come by a call of their own: this stream is over with its first message.
        let message = request
            .into_inner()
            .message()
            .await?
            .ok_or_else(|| Status::invalid_argument("the request has no message"))?;
        let request = EgressBatchRequest::decode(message)
            .map_err(|error| Status::invalid_argument(format!("the request is not readable: {error}")))?;
        let selectors = requested(&request.selectors, request.legacy_selector.as_ref());
        if selectors.len() > MAX_SELECTORS {
            return Err(Status::invalid_argument(format!("more than {MAX_SELECTORS} selectors")));
        }
        if self.router.subscriptions() >= MAX_SUBSCRIPTIONS {
            return Err(Status::resource_exhausted(format!(
                "more than {MAX_SUBSCRIPTIONS} subscriptions"
            )));
        }
        let subscribed = self.router.subscribe(Subscription {
            shard_id: request.shard_id,
            deterministic_name: request.deterministic_name,
            selectors: selectors.iter().filter_map(Selector::from_proto).collect(),
            durable: acknowledges == Acknowledges::Durable,
        });
        Ok(self
            .egress
            .stream(Arc::clone(subscribed.queue()), acknowledges, subscribed))
    }
}
