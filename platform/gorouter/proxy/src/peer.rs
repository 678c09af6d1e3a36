//! The client's side of a connection, as its requests see it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use weir_net::{Place, UnderWay};

use crate::front::Watch;
use crate::router::Router;

/// One connection of a client.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The router that serves it.
    pub(crate) router: Arc<Router>,
    /// The address of the client, or of the proxy in front.
    pub(crate) address: SocketAddr,
    /// The address as text.
    pub(crate) address_text: String,
    /// Whether the connection is encrypted.
    pub(crate) tls: bool,
    /// The certificate that the client has shown, DER.
    pub(crate) certificate: Option<Bytes>,
    /// What happens on the connection.
    pub(crate) watch: Watch,
    /// The place that the connection has at its port.
    pub(crate) place: Place,
}

/// A request that is under way on a connection, until this is dropped.
#[derive(Debug)]
pub(crate) struct Serving {
    peer: Arc<Peer>,
    _place: UnderWay,
}

impl Serving {
    /// A request has come.
    pub(crate) fn begin(peer: &Arc<Peer>) -> Self {
        peer.watch.begin();
        Self {
            _place: peer.place.begin(),
            peer: Arc::clone(peer),
        }
    }

    /// The connection on which the request came.
    pub(crate) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.peer.watch.end();
    }
}
