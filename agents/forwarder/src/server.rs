//! The forwarder agent as a component: its port, and an outlet for each downstream.

use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::join_all;
use weir_agents_lib::outlet::Terms;
use weir_agents_lib::rewrite::Rewriter;
use weir_agents_lib::{Ingress, IngressPort, OriginMappings, Outlet};
use weir_flow::LogContext;
use weir_net::{ServerError, Target};
use weir_tls::ClientTls;

use crate::downstream::{self, Downstream};
use crate::fan::FanOut;
use crate::metrics::Watched;
use crate::{Config, Error, metrics};

/// The name that an agent's certificate must carry (logging §1).
const SERVER_NAME: &str = "metron";

/// A forwarder agent with an open port.
#[derive(Debug)]
pub struct Server {
    port: IngressPort,
    client_tls: ClientTls,
    downstreams: Vec<Downstream>,
    config: Config,
    context: LogContext,
}

impl Server {
    /// Reads the certificates and the files that name downstreams, and opens the port.
    ///
    /// # Errors
    /// When a certificate or file cannot be used, or the port cannot be opened.
    pub async fn bind(config: Config, context: LogContext) -> Result<Self, Error> {
        let client_tls = ClientTls::mutual(&config.identity).map_err(ServerError::from)?;
        let downstreams = downstream::all(&config.downstreams, &config.downstream_files)?;
        let port = IngressPort::bind(config.listen, &config.identity).await?;
        // The address is compared after the port was opened, because only then a port 0 is known. An agent that is its
        // own downstream would send each envelope to itself for ever.
        let own = port.local_addr().to_string();
        if let Some(itself) = downstreams.iter().find(|one| one.address.to_string() == own) {
            return Err(Error::Loop {
                name: itself.name.clone(),
            });
        }
        if downstreams.is_empty() {
            tracing::warn!("there is no downstream: all envelopes are dropped");
        }
        Ok(Self {
            port,
            client_tls,
            downstreams,
            config,
            context,
        })
    }

    /// The address on which the agent listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.port.local_addr()
    }

    /// Serves until shutdown is requested. Then the streams of producers end, the buffered envelopes are sent to each
    /// downstream, and the links are ended. Envelopes that cannot be sent in time are counted as lost.
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            port,
            client_tls,
            downstreams,
            config,
            context,
        } = self;
        let (mut outlets, mut watched) = (Vec::new(), Vec::new());
        for downstream in &downstreams {
            let hop = downstream.hop();
            let terms = Terms {
                peer: "downstream",
                buffer_hop: hop,
                link_hop: hop,
                capacity: config.buffer.capacity(),
                limit: config.in_flight.limit(),
                patience: Some(config.patience.get()),
                drain: config.drain.get(),
            };
            let target = Target {
                address: downstream.address.to_string(),
                server_name: SERVER_NAME.to_owned(),
                tls: client_tls.clone(),
            };
            let outlet = Outlet::start(terms, &[target], &context);
            watched.push(Watched {
                destination: downstream.address.to_string(),
                hop,
                buffer: outlet.buffer(),
            });
            outlets.push(outlet);
        }
        let meter = context.meter();
        metrics::register(&meter, &context.ledger, watched);
        let counter_series = config.counter_series;
        let fan = FanOut {
            rewriter: Rewriter::new(config.tags, counter_series),
            buffers: outlets.iter().map(Outlet::buffer).collect(),
            ledger: Arc::clone(&context.ledger),
            origin_mappings: OriginMappings::register(&meter),
        };
        let ingress = Ingress::new(
            move |parcel| fan.take(parcel),
            Arc::clone(&context.ledger),
            context.shutdown.clone(),
        );
        let served = port.serve(ingress, &context).await;
        // Only now, because producers can still send while their streams end.
        join_all(outlets.into_iter().map(Outlet::finish)).await;
        Ok(served?)
    }
}
