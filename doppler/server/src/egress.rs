//! The egress service of the doppler.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};
use prost::Message;
use tonic::{Request, Response, Status};
use weir_doppler_router::{Request as Subscription, Router};
use weir_envelope::selector::{Selector, requested};
use weir_net::{FrameStream, Messages, RawService};
use weir_proto::loggregator_v2::EgressBatchRequest;
use weir_rpc::egress::{Acknowledges, Egress};

use crate::absent::{AbsentConsumers, ConnectedConsumer};

/// How often refusals are logged. The log says how many there were.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

/// The largest number of selectors in one subscription.
const MAX_SELECTORS: usize = 10_000;

/// The gRPC service `loggregator.v2.Egress`, which subscribes to the router.
#[derive(Debug)]
pub(crate) struct EgressService {
    pub(crate) router: Arc<Router>,
    pub(crate) egress: Arc<Egress>,
    pub(crate) absent: Arc<AbsentConsumers>,
    pub(crate) limits: SubscriptionLimits,
}

/// The limits of subscriptions, and the counter of refused ones.
#[derive(Debug)]
pub(crate) struct SubscriptionLimits {
    /// The largest number of subscriptions of consumers that only read.
    live: usize,
    /// The largest number of subscriptions of consumers that store envelopes. Others do not take these places.
    durable: usize,
    rejected: Counter<u64>,
}

impl SubscriptionLimits {
    pub(crate) fn new(live: usize, durable: usize, meter: &Meter) -> Self {
        let rejected = meter
            .u64_counter("rejected_subscriptions")
            .with_description("Subscriptions refused because there are too many, live or durable ones.")
            .build();
        Self {
            live,
            durable,
            rejected,
        }
    }

    const fn most(&self, is_durable: bool) -> usize {
        if is_durable { self.durable } else { self.live }
    }

    /// Counts and logs a refusal, and returns its status.
    fn refuse(&self, is_durable: bool) -> Status {
        let kind = if is_durable { "durable" } else { "live" };
        let most = self.most(is_durable);
        self.rejected.add(1, &[KeyValue::new("kind", kind)]);
        weir_service::limited!(
            warn,
            REFUSED_AGAIN,
            kind,
            most,
            "subscription refused: there are too many"
        );
        Status::resource_exhausted(format!("there are {most} {kind} subscriptions, which is the limit"))
    }
}

#[tonic::async_trait]
impl RawService for EgressService {
    const NAME: &'static str = "loggregator.v2.Egress";

    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        // As in the original, a doppler does not serve `Receiver` (logging, the table of gRPC methods).
        if method != "BatchedReceiver" {
            return Err(Status::unimplemented(format!(
                "method `{method}` is not served by a doppler; ask an RLP"
            )));
        }
        let acknowledges = Acknowledges::of(&request);
        // Acknowledgements come in separate calls, so the request stream has one message only.
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
        let is_durable = acknowledges == Acknowledges::Durable;
        let request = Subscription {
            shard_id: request.shard_id,
            deterministic_name: request.deterministic_name,
            selectors: selectors.iter().filter_map(Selector::from_proto).collect(),
            durable: is_durable,
        };
        // Before the limit: a consumer that returns already has its subscription.
        let returned = self.absent.take(&request);
        let subscribed = returned.or_else(|| self.router.subscribe_within(self.limits.most(is_durable), request));
        let subscribed = subscribed.ok_or_else(|| self.limits.refuse(is_durable))?;
        let queue = Arc::clone(subscribed.queue());
        Ok(if is_durable {
            let present = ConnectedConsumer::new(subscribed, Arc::clone(&self.absent));
            self.egress.stream(queue, acknowledges, present)
        } else {
            self.egress.stream(queue, acknowledges, subscribed)
        })
    }
}
