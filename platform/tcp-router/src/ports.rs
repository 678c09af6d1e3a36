//! The external ports that are open: each has a listener and the routes as they are now.
//!
//! A change of routes opens and closes ports and exchanges their routes. Connections that are carried do not notice: they
//! chose their backend before. A port that cannot be opened is tried again with each synchronisation.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use parking_lot::RwLock;
use thiserror::Error;
use weir_error::chain;
use weir_net::{Connections, PortLimits, ServerError, SharedPlaces, listen};
use weir_service::{Shutdown, Tasks, Trigger};

use crate::router::Router;
use crate::routes::{PortRoutes, Routes};
use crate::session;
use crate::stats::PortStats;

/// An external port whose connections find its routes here.
#[derive(Debug)]
pub(crate) struct ExternalPort {
    /// The number of the port.
    pub(crate) number: u16,
    routes: RwLock<Arc<PortRoutes>>,
    /// What happens on it.
    pub(crate) stats: Arc<PortStats>,
}

impl ExternalPort {
    /// The routes as they are now.
    pub(crate) fn routes(&self) -> Arc<PortRoutes> {
        Arc::clone(&self.routes.read())
    }
}

/// Where external ports are opened, and what for.
#[derive(Debug)]
pub(crate) struct Ports {
    host: IpAddr,
    reserved: Vec<u16>,
    places: SharedPlaces,
    router: Arc<Router>,
    tasks: Tasks,
    open: HashMap<u16, Open>,
}

#[derive(Debug)]
struct Open {
    port: Arc<ExternalPort>,
    close: Trigger,
}

/// Why an external port is not open.
#[derive(Debug, Error)]
enum OpenError {
    /// It is in the list of reserved ports.
    #[error("port is reserved for other parts of the platform")]
    Reserved,
    /// The system does not give it.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl Ports {
    /// No port is open; those in `reserved` never will be.
    pub(crate) fn new(
        host: IpAddr,
        reserved: Vec<u16>,
        places: SharedPlaces,
        router: Arc<Router>,
        tasks: Tasks,
    ) -> Self {
        Self {
            host,
            reserved,
            places,
            router,
            tasks,
            open: HashMap::new(),
        }
    }

    /// Opens, changes and closes ports, so that they serve `routes`.
    pub(crate) async fn apply(&mut self, routes: &Routes) {
        self.open.retain(|number, open| {
            let stays = routes.port(*number).is_some();
            if !stays {
                tracing::info!(port = number, "external port is closed");
                open.close.fire();
            }
            stays
        });
        for (number, routes) in routes.ports() {
            if let Some(open) = self.open.get(&number) {
                *open.port.routes.write() = Arc::clone(routes);
                continue;
            }
            match self.open(number, Arc::clone(routes)).await {
                Ok(open) => {
                    tracing::info!(port = number, "external port is open");
                    self.open.insert(number, open);
                }
                Err(error) => tracing::error!(port = number, error = %chain(&error), "external port cannot be opened"),
            }
        }
    }

    /// Accepts no more. What was accepted is carried on.
    pub(crate) fn close_all(&mut self) {
        self.open.drain().for_each(|(_, open)| open.close.fire());
    }

    async fn open(&self, number: u16, routes: Arc<PortRoutes>) -> Result<Open, OpenError> {
        if self.reserved.contains(&number) {
            return Err(OpenError::Reserved);
        }
        let (listener, _) = listen(SocketAddr::new(self.host, number)).await?;
        let (close, closed) = Shutdown::new();
        let port = Arc::new(ExternalPort {
            number,
            routes: RwLock::new(routes),
            stats: self.router.stats.port(number),
        });
        let limits = PortLimits::of(0);
        let mut connections = Connections::accept_plain_in(&self.places, listener, limits, closed, &self.tasks);
        let (tasks, router, serving) = (self.tasks.clone(), Arc::clone(&self.router), Arc::clone(&port));
        self.tasks.spawn("external port", async move {
            while let Some(connection) = connections.next().await {
                tasks.spawn(
                    "tcp connection",
                    session::serve(connection, Arc::clone(&serving), Arc::clone(&router)),
                );
            }
        });
        Ok(Open { port, close })
    }
}

#[cfg(test)]
mod tests;
