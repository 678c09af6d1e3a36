//! From the producers into the buffer.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use weir_envelope::batch::{Batch, Kind};
use weir_flow::{FairQueue, Ledger, Parcel, Reason};
use weir_rpc::ingress::{INGRESS_SERVICE, IngressServer, Method};
use weir_rpc::{FrameStream, Messages, RawService};
use weir_service::Shutdown;

use crate::metrics::Metrics;
use crate::rewrite::{Rewriter, Rewritten};

/// Where a loss on this side of the buffer is booked.
const HOP: &str = "ingress";

/// `loggregator.v2.Ingress`, through the agent's rules, into the buffer.
#[derive(Debug)]
pub(crate) struct Ingress {
    server: IngressServer,
}

/// What becomes of each batch that came in.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) rewriter: Rewriter,
    pub(crate) logs_disabled: bool,
    pub(crate) queue: Arc<FairQueue>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Ingress {
    pub(crate) fn new(intake: Intake, shutdown: Shutdown) -> Self {
        let ledger = Arc::clone(&intake.ledger);
        Self {
            server: IngressServer::new(move |parcel| intake.take(parcel), ledger, shutdown),
        }
    }
}

impl Intake {
    fn take(&self, parcel: Parcel) {
        let Some(batch) = self.without_logs(&parcel) else {
            return;
        };
        let Rewritten { batch, origin_mappings } = self.rewriter.rewrite(batch);
        self.metrics.origins_mapped(origin_mappings);
        let losses = self.queue.push(Parcel {
            batch,
            receipts: parcel.receipts,
        });
        if !losses.is_empty() {
            // A closed queue takes nothing: the agent stops, and this came too late.
            let reason = if self.queue.is_closed() {
                Reason::ShuttingDown
            } else {
                Reason::BufferFull
            };
            self.ledger.lost(HOP, reason, &losses);
        }
    }

    /// The parcel's batch, without its logs where the operator does not want them; `None` if nothing is left.
    fn without_logs(&self, parcel: &Parcel) -> Option<Batch> {
        if !self.logs_disabled {
            return Some(parcel.batch.clone());
        }
        let mut discarded = 0;
        let batch = parcel.batch.select(|envelope| {
            let is_log = envelope.kind() == Kind::Log;
            if is_log {
                self.ledger.dropped(HOP, Reason::LogsDisabled, envelope.source_id(), 1);
                discarded += 1;
            }
            !is_log
        });
        parcel.note_lost(discarded);
        batch
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
