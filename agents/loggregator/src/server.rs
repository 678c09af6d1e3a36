//! The loggregator agent as a component: its port, and the outlet to the dopplers.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_agents_lib::outlet::Terms;
use weir_agents_lib::rewrite::Rewriter;
use weir_agents_lib::{INGRESS, Ingress, IngressPort, OriginMappings, Outlet};
use weir_flow::LogContext;
use weir_net::{ServerError, Target};
use weir_tls::ClientTls;

use crate::intake::Intake;
use crate::{Config, metrics};

/// The name that a doppler's certificate must carry (logging §1). Log lines call the peer by this name too.
const DOPPLER: &str = "doppler";

/// The hop at which losses after the buffer are counted.
const EGRESS: &str = "egress";

/// A loggregator agent with an open port.
#[derive(Debug)]
pub struct Server {
    port: IngressPort,
    client_tls: ClientTls,
    config: Config,
    context: LogContext,
}

impl Server {
    /// Reads the certificates and opens the port.
    ///
    /// # Errors
    /// When a certificate cannot be used, or the port cannot be opened.
    pub async fn bind(config: Config, context: LogContext) -> Result<Self, ServerError> {
        let client_tls = ClientTls::mutual(&config.identity)?;
        let port = IngressPort::bind(config.listen, &config.identity).await?;
        Ok(Self {
            port,
            client_tls,
            config,
            context,
        })
    }

    /// The address on which the agent listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.port.local_addr()
    }

    /// Serves until shutdown is requested. Then the streams of producers end, the buffered envelopes are sent, and the
    /// links to the dopplers are ended. Envelopes that cannot be sent in time are counted as lost.
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn run(self) -> Result<(), ServerError> {
        let Self {
            port,
            client_tls,
            config,
            context,
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
        let terms = Terms {
            peer: DOPPLER,
            buffer_hop: INGRESS,
            link_hop: EGRESS,
            capacity: config.buffer.capacity(),
            limit: config.in_flight.limit(),
            // Dopplers are the only destination, so producers wait until one is reachable again.
            patience: None,
            drain: config.drain.get(),
        };
        let outlet = Outlet::start(terms, &targets, &context);
        let meter = context.meter();
        metrics::register(&meter, &context.ledger, &outlet.buffer());
        let (counter_series, logs_disabled) = (config.counter_series, config.logs_disabled);
        let intake = Intake {
            rewriter: Rewriter::new(config.tags, counter_series),
            logs_disabled,
            buffer: outlet.buffer(),
            ledger: Arc::clone(&context.ledger),
            origin_mappings: OriginMappings::register(&meter),
        };
        let ingress = Ingress::new(
            move |parcel| intake.take(parcel),
            Arc::clone(&context.ledger),
            context.shutdown.clone(),
        );
        let served = port.serve(ingress, &context).await;
        // Only now, because producers can still send while their streams end.
        outlet.finish().await;
        served
    }
}
