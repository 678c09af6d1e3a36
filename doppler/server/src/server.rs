//! The doppler as a component: its port, its services, and the order of its shutdown.

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

/// The largest message that a doppler accepts, in bytes (logging §17).
const MAX_INGRESS_MESSAGE: usize = 10 << 20;

/// The largest subscription request or message of acknowledgements, in bytes.
const MAX_REQUEST: usize = 1 << 20;

/// How many streams one connection may have in addition to its subscriptions: producers, acknowledgements, and `Hello`
/// calls.
const OTHER_STREAMS: usize = 1024;

/// How long producers may still send after shutdown was requested. Only then the streams of consumers end, so that
/// envelopes which arrive until then are still delivered. It is a little more than the second after which the ingress
/// ends busy streams.
const PRODUCERS_GRACE: Duration = Duration::from_millis(1200);

/// A doppler with an open port.
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

    /// The address on which the doppler listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested. Then the streams of producers end first, and the queues are emptied to the
    /// consumers.
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
        // Consumers have a shutdown of their own, which is requested once producers have stopped.
        let (stop_consumers, consumers_stop) = weir_service::Shutdown::new();
        let absent = AbsentConsumers::new(consumers_stop.clone());
        context
            .tasks
            .spawn("keep what absent consumers left", Arc::clone(&absent).keep());
        let egress = Egress::new(Arc::clone(&ledger), consumers_stop);
        let ingress = Ingress::new(Arc::clone(&router), Arc::clone(&ledger), context.shutdown.clone());
        let stopping = context.shutdown.clone();
        context.tasks.spawn("shutdown order", async move {
            stopping.requested().await;
            ledger.expect_subscribers_again();
            tokio::time::sleep(PRODUCERS_GRACE).await;
            stop_consumers.fire();
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
