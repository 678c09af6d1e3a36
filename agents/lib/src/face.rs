//! The port of an agent.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use weir_config::ListenAddr;
use weir_net::{GrpcServer, RawServer};
use weir_rpc::egress::LinkService;
use weir_service::Context;
use weir_tls::{IdentityFiles, ServerTls};

use crate::{Error, Ingress};

/// Largest message that an agent accepts (logging §7).
const MAX_MESSAGE: usize = 10 << 20;

/// Largest greeting of a producer that speaks our link.
const MAX_HELLO: usize = 1 << 10;

/// An open port with the agent's certificate; connections wait until it serves.
#[derive(Debug)]
pub struct Face {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
}

impl Face {
    /// Reads the certificates and opens the port.
    ///
    /// # Errors
    /// When the certificates cannot be used or the port cannot be had.
    pub async fn bind(listen: ListenAddr, identity: &IdentityFiles) -> Result<Self, Error> {
        let tls = ServerTls::mutual(identity)?;
        let listening = |source| Error::Listen {
            address: listen.socket(),
            source,
        };
        let listener = TcpListener::bind(listen.socket()).await.map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        Ok(Self { listener, address, tls })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested and producers' streams have ended.
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn serve(self, ingress: Ingress, context: &Context) -> Result<(), Error> {
        let served = GrpcServer::new(self.tls)
            .add(RawServer::new(Arc::new(ingress), MAX_MESSAGE))
            .add(RawServer::new(Arc::new(LinkService::ingress_only()), MAX_HELLO))
            .serve(self.listener, context.shutdown.clone(), &context.tasks)
            .await;
        Ok(served?)
    }
}
