//! The ports of a turn: HTTPS always, HTTP without TLS and the backup's locks where they are wanted.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use weir_net::{PortLimits, ServerError, listen, serve_http_within, serve_plain_http};
use weir_service::{Shutdown, Tasks};
use weir_tls::ServerTls;

use crate::Config;
use crate::http::{App, backup, router};

/// Connections at the port of a backup.
const BACKUP: PortLimits = PortLimits::of(16);

/// Ports that are open.
#[derive(Debug)]
pub(crate) struct Ports {
    https: TcpListener,
    pub(crate) address: SocketAddr,
    plain: Option<TcpListener>,
    pub(crate) plain_port: Option<u16>,
    admin: Option<TcpListener>,
}

impl Ports {
    /// Opens the ports of the configuration; HTTPS at `address`, which is that of an earlier turn if there was one.
    pub(crate) async fn open(config: &Config, address: SocketAddr) -> Result<Self, ServerError> {
        let (https, address) = listen(address).await?;
        let (mut plain, mut plain_port, mut admin) = (None, None, None);
        if let Some(at) = config.plain {
            let (listener, address) = listen(at.socket()).await?;
            (plain, plain_port) = (Some(listener), Some(address.port()));
        }
        if let Some(at) = config.admin {
            admin = Some(listen(at.socket()).await?.0);
        }
        Ok(Self {
            https,
            address,
            plain,
            plain_port,
            admin,
        })
    }

    /// Serves on all ports until `until`.
    pub(crate) async fn serve(self, app: &App, tls: &ServerTls, port: PortLimits, until: &Shutdown, tasks: &Tasks) {
        let https = serve_http_within(port, self.https, tls, router(app.clone()), until.clone(), tasks);
        let plain = async {
            if let Some(listener) = self.plain {
                serve_plain_http(port, listener, router(app.clone()), until.clone(), tasks).await;
            }
        };
        let admin = async {
            if let Some(listener) = self.admin {
                let locks = Arc::clone(&app.locks);
                serve_plain_http(BACKUP, listener, backup(locks), until.clone(), tasks).await;
            }
        };
        tokio::join!(https, plain, admin);
    }
}
