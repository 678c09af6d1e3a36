//! The server as a component: its port, the beginning of each connection, and its stop.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::time::{Instant, timeout, timeout_at};
use weir_config::Secret;
use weir_net::{Connections, listen};
use weir_service::Context;
use weir_tls::ServerTls;

use crate::budget::Budget;
use crate::client::{Client, Shared};
use crate::connection::{Connection, Times};
use crate::ending::Ending;
use crate::hello::Info;
use crate::metrics::Metrics;
use crate::outbound::OutboundLimits;
use crate::protocol::Limits;
use crate::table::Table;
use crate::{Config, Error};

/// How much is read at once below TLS, which asks for little at a time.
const READ_AHEAD: usize = 32 << 10;

/// The least share of the outgoing bytes that a connection has for itself.
const LEAST_SHARE: usize = 64 << 10;

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<ServerTls>,
    user: Option<(String, Secret<String>)>,
    config: Config,
    context: Context,
}

impl Server {
    /// Reads certificates and password, and opens the port.
    ///
    /// # Errors
    /// When certificates or password file cannot be used, or the port is taken.
    pub async fn bind(config: Config, context: Context) -> Result<Self, Error> {
        let tls = match &config.identity {
            Some(files) if config.client_certificates => Some(ServerTls::mutual(files)?),
            Some(files) => Some(ServerTls::public(&files.cert, &files.key)?),
            None => None,
        };
        let user = config.user.clone().zip(password(&config)?);
        let (listener, address) = listen(config.listen.socket()).await?;
        Ok(Self {
            listener,
            address,
            // NATS has no name in ALPN.
            tls: tls.map(|tls| tls.with_alpn(&[])),
            user,
            config,
            context,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested: then clients are told, what waits for them is written, and they are disconnected.
    ///
    /// # Errors
    /// None; for the form that all components have.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            listener,
            address,
            tls,
            user,
            config,
            context,
        } = self;
        let info = Info {
            auth_required: user.is_some(),
            tls_required: tls.is_some(),
            tls_verify: tls.as_ref().is_some_and(ServerTls::demands_certificates),
            ..Info::new(address, config.max_payload.as_usize())
        };
        let limits = config.port.limits();
        let pending = config.max_pending_total.as_usize();
        let shared = Arc::new(Shared {
            table: Table::default(),
            clients: Mutex::default(),
            next_id: AtomicU64::new(1),
            info,
            limits: Limits {
                control_line: config.max_control_line.as_usize(),
                payload: config.max_payload.as_usize(),
            },
            max_subscriptions: config.max_subscriptions,
            subscriptions: Budget::new(config.max_subscriptions_size.as_usize()),
            unfinished: Budget::new(config.max_unfinished.as_usize()),
            outbound: OutboundLimits {
                connection: config.max_pending.as_usize(),
                share: (pending / limits.connections).max(LEAST_SHARE),
                all: Arc::new(Budget::new(pending)),
            },
            user,
            metrics: Metrics::register(&context.meter()),
        });
        let front = Front {
            tls,
            shared: Arc::clone(&shared),
            times: Times {
                authentication: config.auth_timeout.get(),
                ping: config.ping_interval.get(),
                unanswered: config.max_pings_out,
                write: config.write_deadline.get(),
            },
        };
        let shutdown = context.shutdown.clone();
        let mut connections = Connections::accept_plain(listener, limits, shutdown, &context.tasks);
        while let Some(connection) = connections.next().await {
            let front = front.clone();
            context
                .tasks
                .spawn("connection", async move { front.serve(connection).await });
        }
        shared.announce_stop();
        let all_closed = connections.all_closed();
        tokio::pin!(all_closed);
        if timeout(config.lame_duck.get(), &mut all_closed).await.is_err() {
            shared.stop();
            all_closed.await;
        }
        Ok(())
    }
}

/// The password of the user, if there is one.
fn password(config: &Config) -> Result<Option<Secret<String>>, Error> {
    let path = match (&config.password, &config.password_file) {
        (Some(password), _) => return Ok(Some(password.clone())),
        (None, None) => return Ok(None),
        (None, Some(path)) => path,
    };
    let password = fs::read_to_string(path).map_err(|source| Error::Password {
        path: path.clone(),
        source,
    })?;
    Ok(Some(Secret::new(password.trim().to_owned())))
}

/// The beginning of each connection.
#[derive(Debug, Clone)]
struct Front {
    tls: Option<ServerTls>,
    shared: Arc<Shared>,
    times: Times,
}

impl Front {
    async fn serve(&self, connection: weir_net::Connection) {
        let client = self.shared.admit(connection.peer().ip());
        self.shared.metrics.connected();
        let ending = self.greet(connection, &client).await;
        self.shared.remove(&client);
        self.shared.metrics.ended(ending);
    }

    /// Says what the server is, before the handshake of TLS, as the protocol has it, and serves the client.
    async fn greet(&self, mut connection: weir_net::Connection, client: &Arc<Client>) -> Ending {
        let since = Instant::now();
        let line = self.shared.info.line(client.id, client.address);
        let deadline = since + self.times.authentication;
        let said = tokio::select! {
            said = timeout_at(deadline, connection.write_all(&line)) => said,
            ending = client.outbound.ended() => return ending,
        };
        if !matches!(said, Ok(Ok(()))) {
            return Ending::Gone;
        }
        let (place, peer) = (connection.place(), connection.peer());
        let Self { shared, times, tls } = self;
        let Some(tls) = tls else {
            return Connection::new(connection, place, shared, client, *times, since)
                .serve()
                .await;
        };
        let stream = BufReader::with_capacity(READ_AHEAD, connection);
        let shaken = tokio::select! {
            shaken = timeout_at(deadline, tls.acceptor().accept(stream)) => shaken,
            ending = client.outbound.ended() => return ending,
        };
        match shaken {
            Ok(Ok(stream)) => {
                Connection::new(stream, place, shared, client, *times, since)
                    .serve()
                    .await
            }
            Ok(Err(error)) => {
                let error = weir_tls::explain(&peer.to_string(), error);
                tracing::debug!(%peer, error = %weir_error::chain(&error), "TLS handshake failed");
                Ending::Gone
            }
            Err(_) => Ending::Late,
        }
    }
}
