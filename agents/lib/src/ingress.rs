//! `loggregator.v2.Ingress` as an agent serves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::metrics::Meter;
use tonic::{Request, Response, Status};
use weir_flow::{Ledger, Parcel};
use weir_net::{FrameStream, Messages, RawService};
use weir_rpc::ingress::{INGRESS_SERVICE, IngressServer, Method};
use weir_service::Shutdown;

/// Where a loss on the way in is booked.
pub const HOP: &str = "ingress";

/// The service; hands what comes in to the agent.
#[derive(Debug)]
pub struct Ingress {
    server: IngressServer,
}

impl Ingress {
    /// Counts what comes in in `ledger` and gives it to `take`; ends its streams when `shutdown` is requested.
    #[must_use]
    pub fn new(take: impl Fn(Parcel) + Send + Sync + 'static, ledger: Arc<Ledger>, shutdown: Shutdown) -> Self {
        Self {
            server: IngressServer::new(take, ledger, shutdown),
        }
    }
}

#[tonic::async_trait]
impl RawService for Ingress {
    const NAME: &'static str = INGRESS_SERVICE;

    async fn call(&self, method: &str, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        match Method::named(method) {
            Some(method) => self.server.serve(method, request).await,
            None => Err(Status::unimplemented(format!(
                "method `{method}` is not served by an agent"
            ))),
        }
    }
}

/// The metric `origin_mappings`, which all agents have.
#[derive(Debug, Clone, Default)]
pub struct OriginMappings(Arc<AtomicU64>);

impl OriginMappings {
    /// Registers it.
    #[must_use]
    pub fn register(meter: &Meter) -> Self {
        let mappings = Self::default();
        let counted = mappings.clone();
        meter
            .u64_observable_counter("origin_mappings")
            .with_description("Envelopes without a source id that got it from their origin.")
            .with_callback(move |counter| counter.observe(counted.0.load(Ordering::Relaxed), &[]))
            .build();
        mappings
    }

    /// Counts more of them.
    pub fn add(&self, count: u64) {
        if count > 0 {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }
}
