//! The agent as a component.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::Instant;
use weir_flow::FairQueue;
use weir_rpc::egress::LinkService;
use weir_rpc::{GrpcServer, RawServer, Target};
use weir_service::{Context, Shutdown};
use weir_tls::{ClientTls, ServerTls};

use crate::egress::Egress;
use crate::ingress::{Ingress, Intake};
use crate::metrics::Metrics;
use crate::rewrite::Rewriter;
use crate::{Config, Error};

/// Largest message that an agent accepts (contract §7).
const MAX_MESSAGE: usize = 10 << 20;

/// Largest greeting of a producer that speaks our link.
const MAX_HELLO: usize = 1 << 10;

/// The name that a doppler's certificate must carry (contract §1).
const DOPPLER: &str = "doppler";

/// An agent that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
    client_tls: ClientTls,
    config: Config,
    context: Context,
}

impl Server {
    /// Reads the certificates and opens the port.
    pub async fn bind(config: Config, context: Context) -> Result<Self, Error> {
        let tls = ServerTls::mutual(&config.identity)?;
        let client_tls = ClientTls::mutual(&config.identity)?;
        let listen = |source| Error::Listen {
            address: config.listen.socket(),
            source,
        };
        let listener = TcpListener::bind(config.listen.socket()).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self {
            listener,
            address,
            tls,
            client_tls,
            config,
            context,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested: then producers' streams end, what is buffered leaves, and at last the links to
    /// the dopplers are ended in order. What could not leave in time is counted.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            listener,
            tls,
            client_tls,
            config,
            context,
            ..
        } = self;
        let targets: Vec<Target> = config
            .dopplers
            .iter()
            .map(|address| Target {
                address: address.to_string(),
                server_name: DOPPLER.to_owned(),
                tls: client_tls.clone(),
            })
            .collect();
        let queue = Arc::new(FairQueue::new(config.buffer));
        let (links_go, links) = Shutdown::new();
        let mut egress = Egress::new(Arc::clone(&queue), &targets, config.in_flight, &context, &links);
        let metrics = Metrics::register(
            &weir_telemetry::meter(context.component),
            &context.ledger,
            egress.connected(),
        );
        let intake = Intake {
            rewriter: Rewriter::new(config.tags, config.counter_series),
            logs_disabled: config.logs_disabled,
            queue: Arc::clone(&queue),
            ledger: Arc::clone(&context.ledger),
            metrics,
        };
        let ingress = Ingress::new(intake, context.shutdown.clone());
        let (ingress_ended, ended) = oneshot::channel::<()>();
        let drain = config.drain;
        let sending = context.tasks.spawn("egress", async move {
            let too_late = async {
                // Ends either way: the other end is dropped at the latest.
                drop(ended.await);
                tokio::time::sleep(drain).await;
            };
            tokio::select! {
                () = egress.run() => {}
                () = too_late => tracing::warn!("the buffer could not be emptied before the drain deadline"),
            }
            links_go.fire();
            egress.finish(Instant::now() + drain).await;
        });
        let served = GrpcServer::new(tls)
            .add(RawServer::new(Arc::new(ingress), MAX_MESSAGE))
            .add(RawServer::new(Arc::new(LinkService::ingress_only()), MAX_HELLO))
            .serve(listener, context.shutdown.clone(), &context.tasks)
            .await;
        queue.close();
        drop(ingress_ended);
        // A panic there is the tasks' to report.
        drop(sending.await);
        Ok(served?)
    }
}
