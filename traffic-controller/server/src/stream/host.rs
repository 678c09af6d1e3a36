//! Runs streams, from the upgrade of the connection to the log entry about its end.

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use weir_flow::LogContext;
use weir_net::Connection;
use weir_proto::loggregator_v2::EgressBatchRequest;
use weir_rpc::subscriber::{Dopplers, Durability};
use weir_service::Tasks;

use super::client::{Client, SLOW_CONSUMER};
use super::feed::SubscriptionFeed;
use super::filter::Filter;
use super::outgoing::Tally;
use super::sender::DeliveryObserver;
use super::session::{End, Patience, Stream};
use crate::metrics::{Metrics, OpenStream, StreamKind};

/// How long the upgrade of the connection may take after the response was sent.
const UPGRADE: Duration = Duration::from_secs(10);

/// How often refusals by dopplers are logged. The log says how many there were.
const REFUSED_AGAIN: Duration = Duration::from_secs(10);

/// The state that all streams share.
#[derive(Debug)]
pub(crate) struct StreamHost {
    pub(crate) dopplers: Arc<Dopplers>,
    pub(crate) patience: Patience,
    pub(crate) context: LogContext,
    pub(crate) metrics: Arc<Metrics>,
}

/// Counts the deliveries of one stream.
struct StreamCounter<'m> {
    metrics: &'m Metrics,
    kind: StreamKind,
}

impl DeliveryObserver for StreamCounter<'_> {
    fn delivered(&self, tally: &Tally) {
        self.metrics.delivered(self.kind, tally.frames);
    }
}

impl StreamHost {
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.context.tasks
    }

    /// Subscribes and streams until the client or the server ends the stream.
    pub(crate) async fn run(
        &self,
        upgrade: OnUpgrade,
        client: Client,
        kind: StreamKind,
        shard_id: String,
        filter: Filter,
    ) {
        // hyper resolves the upgrade when it has written the 101 response, which a client can delay by not reading.
        let Ok(Ok(upgraded)) = tokio::time::timeout(UPGRADE, upgrade).await else {
            return;
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<Connection>>() else {
            tracing::error!(peer = %client.peer, "upgraded connection is not ours");
            return;
        };
        let _open = OpenStream::open(&self.metrics, kind, &self.context.ledger);
        let request = EgressBatchRequest {
            shard_id,
            selectors: filter.selectors(),
            ..EgressBatchRequest::default()
        };
        let feed = SubscriptionFeed {
            subscription: self.dopplers.subscribe(&request, Durability::Live),
            refused: None,
            ledger: Arc::clone(&self.context.ledger),
            metrics: Arc::clone(&self.metrics),
        };
        let stream = Stream {
            filter,
            // Bytes that hyper has read behind the handshake belong to the WebSocket, so they are passed on with
            // `read_buf`.
            patience: self.patience,
            caller: &client.caller,
            shutdown: &self.context.shutdown,
            ledger: &self.context.ledger,
            observer: &StreamCounter {
                metrics: &self.metrics,
                kind,
            },
        };
        tracing::info!(peer = %client.peer, caller = client.caller.name(), path = client.path, "stream opened");
        let end = stream.run(parts.io.into_inner(), &parts.read_buf, feed).await;
        self.closed(&client, &end);
    }

    fn closed(&self, client: &Client, end: &End) {
        match end {
            End::Slow => {
                self.metrics.slow_consumer();
                weir_telemetry::event(self.context.component, SLOW_CONSUMER, &client.slow_consumer());
                tracing::error!(
                    peer = %client.peer,
                    forwarded_for = client.forwarded_for,
                    path = client.path,
                    "slow consumer was disconnected"
                );
            }
            End::Violated(violation) => {
                weir_service::limited!(
                    warn,
                    weir_service::EACH_SECOND,
                    peer = %client.peer,
                    path = client.path,
                    error = %violation,
                    "stream was cut"
                );
            }
            End::Refused(error) => {
                self.metrics.rejected_stream();
                weir_service::limited!(
                    warn,
                    REFUSED_AGAIN,
                    path = client.path,
                    error,
                    "stream was closed: a doppler refuses its subscription"
                );
            }
            End::NotAllowed(why) => {
                tracing::info!(peer = %client.peer, caller = client.caller.name(), path = client.path, %why, "stream was closed");
            }
            end => tracing::info!(peer = %client.peer, path = client.path, end = ?end, "stream closed"),
        }
    }
}
