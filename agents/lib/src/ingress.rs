//! The gRPC service `loggregator.v2.Ingress` as every agent serves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::metrics::Meter;
use tonic::{Request, Response, Status};
use weir_flow::{Ledger, Parcel};
use weir_net::{FrameStream, Messages, RawService};
use weir_rpc::ingress::{INGRESS_SERVICE, IngressServer, Method};
use weir_service::Shutdown;

/// The name of the hop at which an agent counts what it loses on the way in.
pub const HOP: &str = "ingress";

/// The gRPC service. It passes every received parcel to the agent.
#[derive(Debug)]
pub struct Ingress {
    server: IngressServer,
}

impl Ingress {
    /// Creates a service that counts what it receives in `ledger` and passes it to `take`. Its streams end when
    /// `shutdown` is requested.
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

/// The counter `origin_mappings`, which all agents of the original have.
#[derive(Debug, Clone, Default)]
pub struct OriginMappings(Arc<AtomicU64>);

impl OriginMappings {
    /// Registers the counter with `meter`.
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

    /// Adds `count` envelopes to the counter.
    pub fn add(&self, count: u64) {
        if count > 0 {
            self.0.fetch_add(count, Ordering::Relaxed);
        }
    }
}
