//! The RLP gateway as a component: its port, the authorizer, and the channel to the RLP.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use weir_auth::{Authorizer, Gate, StartError, Verifier};
use weir_flow::LogContext;
use weir_net::{Channel, Target, listen};
use weir_tls::{ALPN_HTTP1, ClientTls, IdentityFiles, ServerTls};

use crate::front::Front;
use crate::service::Service;
use crate::sessions::Sessions;
use crate::stream_limits::StreamLimits;
use crate::{Config, metrics};

/// An RLP gateway with an open port.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
    client_tls: ClientTls,
    authorizer: Arc<dyn Authorizer>,
    /// The verifier of UAA's tokens, for its statistics.
    verifier: Option<Arc<Verifier>>,
    config: Config,
    context: LogContext,
}

impl Server {
    /// Reads the certificates and the token file, begins to fetch UAA's keys, and opens the port.
    pub async fn bind(config: Config, context: LogContext) -> Result<Self, StartError> {
        let gate = Gate::open(&config.token_file, config.uaa.as_ref(), &config.identity, &context)?;
        let verifier = gate.verifier().cloned();
        let mut server = Self::with_authorizer(config, context, gate).await?;
        server.verifier = verifier;
        Ok(server)
    }

    /// Reads the certificates and opens the port of a gateway whose callers are checked by `authorizer`. The configured
    /// token file and UAA are not used.
    pub async fn with_authorizer(
        config: Config,
        context: LogContext,
        authorizer: Arc<dyn Authorizer>,
    ) -> Result<Self, StartError> {
        let tls = ServerTls::public_knowing(&IdentityFiles {
            ca: config.identity.ca.clone(),
            cert: config.cert.clone(),
            key: config.key.clone(),
        })?;
        // The original's header `Connection: keep-alive` requires HTTP/1.1.
        let tls = tls.with_alpn(&[ALPN_HTTP1]);
        let client_tls = ClientTls::mutual(&config.identity)?;
        let (listener, address) = listen(config.listen.socket()).await?;
        Ok(Self {
            listener,
            address,
            tls,
            client_tls,
            authorizer,
            verifier: None,
            config,
            context,
        })
    }

    /// The address on which the gateway listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested; then every stream says so and ends behind what it has handed on.
    pub async fn run(self) -> Result<(), StartError> {
        let Self {
            listener,
            tls,
            client_tls,
            authorizer,
            verifier,
            config,
            context,
            ..
        } = self;
        let channel = Channel::new(&Target {
            address: config.logs_provider.to_string(),
            server_name: config.logs_provider_name.clone(),
            tls: client_tls,
        });
        let meter = context.meter();
        let rejected_streams = metrics::register(&meter, &context.ledger, verifier.as_ref());
        let service = Service {
            authorizer,
            channel,
            limits: config.limits,
            times: config.timeouts,
            resume: config.resume,
            stream_limits: StreamLimits::new(&config.limits),
            sessions: Sessions::new(config.resume.sessions(), config.resume.sessions_per_caller),
            rejected_streams,
            context: context.clone(),
        };
        let front = Front {
            tls,
            service: Arc::new(service),
            port: config.port,
            limits: config.limits,
            times: config.timeouts,
            context,
        };
        front.serve(listener).await;
        Ok(())
    }
}
