//! The RLP as a component: its port, and the subscriptions at the dopplers.

use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry::KeyValue;
use tokio::net::TcpListener;
use weir_flow::LogContext;
use weir_net::{GrpcServer, RawServer, Target, listen};
use weir_rpc::subscriber::Dopplers;
use weir_service::Shutdown;
use weir_tls::{ClientTls, ServerTls};

use crate::service::EgressService;
use crate::{Config, Error};

/// The largest subscription request, in bytes.
const MAX_REQUEST: usize = 1 << 20;

/// An RLP with an open port.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
    client_tls: ClientTls,
    config: Config,
    context: LogContext,
}

impl Server {
    /// Reads the certificates and opens the port.
    pub async fn bind(config: Config, context: LogContext) -> Result<Self, Error> {
        let tls = ServerTls::mutual(&config.identity)?;
        let client_tls = ClientTls::mutual(&config.identity)?;
        let (listener, address) = listen(config.listen.socket()).await?;
        Ok(Self {
            listener,
            address,
            tls,
            client_tls,
            config,
            context,
        })
    }

    /// The address on which the RLP listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested. Then each client's stream ends after the envelopes that were passed to it
    /// are written.
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
                server_name: "doppler".to_owned(),
                tls: client_tls.clone(),
            })
            .collect();
        let meter = context.meter();
        weir_telemetry::observe_ledger(&meter, &context.ledger, &[KeyValue::new("protocol", "grpc")]);
        let rejected_streams = meter
            .u64_counter("rejected_streams")
            .with_description("Client streams refused because there are too many.")
            .build();
        // Subscriptions outlive the request to stop, because their acknowledgements are sent while the clients' streams
        // end.
        let (stop_subscriptions, subscriptions_stop): (_, Shutdown) = Shutdown::new();
        let dopplers = Dopplers::new(&targets, &context.ledger, &subscriptions_stop, &context.tasks);
        let service = EgressService {
            dopplers,
            streams: Arc::default(),
            max_streams: config.max_egress_streams,
            rejected_streams,
            context: context.clone(),
        };
        let served = GrpcServer::new(tls)
            .add(RawServer::new(Arc::new(service), MAX_REQUEST))
            .serve(listener, context.shutdown.clone(), &context.tasks)
            .await;
        stop_subscriptions.fire();
        served
    }
}
