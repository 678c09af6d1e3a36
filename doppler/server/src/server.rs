//! The doppler as a component.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use weir_doppler_router::Router;
use weir_flow::LogContext;
use weir_net::{GrpcServer, RawServer, listen};
use weir_rpc::egress::{Egress, LinkService};
use weir_tls::ServerTls;

use crate::absent::AbsentConsumers;
use crate::egress::{EgressService, SubscriptionLimits};
use crate::ingress::Ingress;
use crate::{Config, Error};

/// Largest message that a doppler accepts (logging §17).
const MAX_INGRESS_MESSAGE: usize = 10 << 20;

/// Largest subscription request and acknowledgement.
const MAX_REQUEST: usize = 1 << 20;

/// Streams of one connection beside the subscriptions: producers, acknowledgements, greetings.
const OTHER_STREAMS: usize = 1024;

/// How long producers may still send after shutdown was requested, before the consumers' streams are ended: the two run
/// out one after the other.
const FINISH: Duration = Duration::from_millis(1200);

/// A doppler that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
    config: Config,
    context: LogContext,
}

impl Server {
    /// Reads the certificates and opens the port.
    pub async fn bind(config: Config, context: LogContext) -> Result<Self, Error> {
        let tls = ServerTls::mutual(&config.identity)?;
        let (listener, address) = listen(config.listen.socket()).await?;
        Ok(Self {
            listener,
            address,
            tls,
            config,
            context,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested; then producers' streams end first, and the queues run out to the consumers.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            listener,
            tls,
            config,
            context,
            ..
        } = self;
        let ledger = Arc::clone(&context.ledger);
        let meter = context.meter();
        weir_telemetry::observe_ledger(&meter, &ledger, &[]);
        let limits = SubscriptionLimits::new(config.max_subscriptions, config.max_durable_subscriptions, &meter);
        let router = Router::new(config.queue(), Arc::clone(&ledger));
        // Consumers are told to go once producers have stopped.
        let (consumers_go, consumers) = weir_service::Shutdown::new();
        let absent = AbsentConsumers::new(consumers.clone());
        context
            .tasks
            .spawn("keep what absent consumers left", Arc::clone(&absent).keep());
        let egress = Egress::new(Arc::clone(&ledger), consumers);
        let ingress = Ingress::new(Arc::clone(&router), Arc::clone(&ledger), context.shutdown.clone());
        let stopping = context.shutdown.clone();
        context.tasks.spawn("shutdown order", async move {
            stopping.requested().await;
            ledger.expect_subscribers_again();
            tokio::time::sleep(FINISH).await;
            consumers_go.fire();
        });
        GrpcServer::new(tls)
            .add(RawServer::new(Arc::new(ingress), MAX_INGRESS_MESSAGE))
            .add(RawServer::new(
                Arc::new(LinkService::new(Arc::clone(&egress))),
                MAX_REQUEST,
            ))
            .add(RawServer::new(
                Arc::new(EgressService {
                    router,
                    egress,
                    absent,
                    limits,
                }),
                MAX_REQUEST,
            ))
            .at_least_streams(config.max_subscriptions + OTHER_STREAMS)
            .serve(listener, context.shutdown.clone(), &context.tasks)
            .await?;
        Ok(())
    }
}
