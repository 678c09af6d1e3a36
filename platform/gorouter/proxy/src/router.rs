//! What all requests share.

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use weir_platform_gorouter_table::{Pool, Registry};
use weir_service::{Shutdown, Tasks};

use crate::backend::Backends;
use crate::health::RouterHealth;
use crate::lookup;
use crate::peer::Peer;
use crate::refusal::Refusal;
use crate::route_service::RouteServices;
use crate::settings::Settings;
use crate::telemetry::Told;

/// A router, without its ports.
#[derive(Debug)]
pub(crate) struct Router {
    /// The routes.
    pub(crate) registry: Arc<Registry>,
    /// The connections to backends.
    pub(crate) backends: Arc<Backends>,
    /// How route services are used.
    pub(crate) services: RouteServices,
    /// Where the router takes requests of its own to route services.
    pub(crate) internal: Option<SocketAddr>,
    /// What operators set.
    pub(crate) settings: Settings,
    /// What load balancers are told.
    pub(crate) health: RouterHealth,
    /// Where requests are told.
    pub(crate) told: Told,
    /// What outlives a connection of a client.
    pub(crate) tasks: Tasks,
    /// Requested when tunnels have to end.
    pub(crate) cut: Shutdown,
}

impl Router {
    /// The pool of a request, which is not empty.
    pub(crate) fn find(&self, peer: &Peer, head: &Parts) -> Result<Arc<Pool>, Refusal> {
        let pool = lookup::pool(&self.registry, peer.address.ip(), head)?;
        match pool.is_empty() {
            true => Err(self.empty(lookup::host(head).to_owned())),
            false => Ok(pool),
        }
    }

    /// The refusal of a request whose route has no backend.
    pub(crate) fn empty(&self, host: String) -> Refusal {
        match self.settings.empty_is_unavailable {
            true => Refusal::NoEndpoints { host },
            false => Refusal::UnknownRoute { host },
        }
    }
}
