//! The agent as a component.

use std::net::SocketAddr;
use std::sync::Arc;

use weir_agents_lib::outlet::Terms;
use weir_agents_lib::rewrite::Rewriter;
use weir_agents_lib::{Face, INGRESS, Ingress, OriginMappings, Outlet};
use weir_flow::LogContext;
use weir_net::{ServerError, Target};
use weir_tls::ClientTls;

use crate::intake::Intake;
use crate::{Config, metrics};

/// The name that a doppler's certificate must carry (logging §1), and what it is called.
const DOPPLER: &str = "doppler";

/// Where a loss behind the buffer is booked.
const EGRESS: &str = "egress";

/// An agent that listens.
#[derive(Debug)]
pub struct Server {
    face: Face,
    client_tls: ClientTls,
    config: Config,
    context: LogContext,
}

impl Server {
    /// Reads the certificates and opens the port.
    ///
    /// # Errors
    /// When the certificates cannot be used or the port cannot be had.
    pub async fn bind(config: Config, context: LogContext) -> Result<Self, ServerError> {
        let client_tls = ClientTls::mutual(&config.identity)?;
        let face = Face::bind(config.listen, &config.identity).await?;
        Ok(Self {
            face,
            client_tls,
            config,
            context,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.face.local_addr()
    }

    /// Serves until shutdown is requested: then producers' streams end, what is buffered leaves, and at last the links to
    /// the dopplers are ended in order. What could not leave in time is counted.
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn run(self) -> Result<(), ServerError> {
        let Self {
            face,
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
            // There is no other way: producers wait until a doppler is back.
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
        let served = face.serve(ingress, &context).await;
        outlet.finish().await;
        served
    }
}
