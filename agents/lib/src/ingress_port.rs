//! The port on which an agent receives envelopes.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use weir_config::ListenAddr;
use weir_net::{GrpcServer, RawServer, ServerError, listen};
use weir_rpc::egress::LinkService;
use weir_service::Context;
use weir_tls::{IdentityFiles, ServerTls};

use crate::ingress::Ingress;

/// The size in bytes of the largest message that an agent accepts (logging §7).
const MAX_MESSAGE: usize = 10 << 20;

/// The size in bytes of the largest hello message. A producer that speaks the acknowledged link sends it first.
const MAX_HELLO: usize = 1 << 10;

/// An open port with the agent's certificate. Clients can connect at once, but their connections wait until
/// [`IngressPort::serve`] runs.
#[derive(Debug)]
pub struct IngressPort {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
}

impl IngressPort {
    /// Reads the certificates and opens the port.
    ///
    /// # Errors
    /// Returns an error if the certificates cannot be used or the port cannot be bound.
    pub async fn bind(address: ListenAddr, identity: &IdentityFiles) -> Result<Self, ServerError> {
        let tls = ServerTls::mutual(identity)?;
        let (listener, address) = listen(address.socket()).await?;
        Ok(Self { listener, address, tls })
    }

    /// Returns the address on which the port listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested and producers' streams have ended.
    ///
    /// # Errors
    /// Returns an error if the transport fails.
    pub async fn serve(self, ingress: Ingress, context: &Context) -> Result<(), ServerError> {
        GrpcServer::new(self.tls)
            .add(RawServer::new(Arc::new(ingress), MAX_MESSAGE))
            .add(RawServer::new(Arc::new(LinkService::ingress_only()), MAX_HELLO))
            .serve(self.listener, context.shutdown.clone(), &context.tasks)
            .await
    }
}
