//! The syslog server as a component: its port, and the shipper to the log cache.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use weir_flow::LogContext;
use weir_net::{Channel, Connections, PortLimits, Target};
use weir_service::{Context, Shutdown};
use weir_tls::{ClientTls, ServerTls};

use crate::connection::{Connection, Shared};
use crate::metrics::Metrics;
use crate::outbox::outbox;
use crate::{Config, Error};

/// The name that the log cache's certificate must carry (logging §1).
const LOG_CACHE: &str = "log-cache";

/// The receive buffer of one connection in the kernel, in bytes. A sender counts bytes in it as delivered, though they
/// are lost if this process is killed. The buffer is therefore no larger than a fast network needs.
const RECEIVE_BUFFER: u32 = 128 << 10;

/// How many connections may wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;

/// A syslog server with an open port.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
    client_tls: ClientTls,
    config: Config,
    context: LogContext,
}

impl Server {
    /// Reads the certificates and opens the port.
    ///
    /// # Errors
    /// When a certificate cannot be used, or the port cannot be opened.
    pub async fn bind(config: Config, context: LogContext) -> Result<Self, Error> {
        let tls = if config.client_certificates {
            ServerTls::mutual(&config.identity)?
        } else {
            ServerTls::public(&config.identity.cert, &config.identity.key)?
        };
        let client_tls = ClientTls::mutual(&config.log_cache_identity)?;
        let failed = |source| Error::Listen {
            address: config.listen.socket(),
            source,
        };
        let listener = listener(config.listen.socket()).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            // Syslog has no protocol name for ALPN, so none is negotiated.
            tls: tls.with_alpn(&[]),
            client_tls,
            config,
            context,
        })
    }

    /// The address on which the server listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested. Then the messages that have been sent by then are read and sent to the log
    /// cache. Envelopes that cannot be sent in time are counted as lost.
    ///
    /// # Errors
    /// Never. The result has the type that all components have.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            listener,
            tls,
            client_tls,
            config,
            context,
            ..
        } = self;
        let channel = Channel::new(&Target {
            address: config.log_cache.to_string(),
            server_name: LOG_CACHE.to_owned(),
            tls: client_tls,
        });
        let metrics = Metrics::register(&context.meter(), &context.ledger);
        let counters = (Arc::clone(&context.ledger), Arc::clone(&metrics));
        let (give_up, gave_up) = Shutdown::new();
        let (outbox, shipper) = outbox(channel, config.batch, config.buffer.as_usize(), counters, gave_up);
        let shipping = context.tasks.spawn("ship to the log cache", shipper.run());
        let front = Front {
            tls,
            metrics,
            shared: Shared {
                framing: config.framing.into(),
                max_message: config.max_message.as_usize(),
                max_batch: config.batch.envelopes,
                idle_timeout: config.idle_timeout.get(),
                outbox,
                ledger: Arc::clone(&context.ledger),
                clock: context.clock.clone(),
                shutdown: context.shutdown.clone(),
            },
        };
        let work = async {
            front.accept(listener, config.port, &context).await;
            // When the last outbox is dropped, the shipper ends as soon as everything is sent. A panic of it is
            // reported by the list of tasks.
            drop(front);
            drop(shipping.await);
        };
        let deadline = async {
            context.shutdown.requested().await;
            tokio::time::sleep(config.drain.get()).await;
            tracing::warn!("the log cache did not take everything before the drain deadline");
            give_up.fire();
            // The shipper now counts what it has as lost and ends, and with it `work` below.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = work => {}
            () = deadline => {}
        }
        Ok(())
    }
}

/// A listener whose connections have small receive buffers.
fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // `TcpListener::bind` sets this too. With it, a restart does not wait for the connections of the last run to time
    // out.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts connections and reads from them.
#[derive(Debug, Clone)]
struct Front {
    tls: ServerTls,
    metrics: Arc<Metrics>,
    shared: Shared,
}

impl Front {
    /// Accepts until shutdown is requested, and waits until the last connection has ended.
    async fn accept(&self, listener: TcpListener, limits: PortLimits, context: &Context) {
        let Context { shutdown, tasks, .. } = context;
        let mut connections = Connections::accept(listener, self.tls.clone(), limits, shutdown.clone(), tasks);
        // The loop goes on after shutdown was requested, until no handshake is under way: a sender may have sent
        // messages together with the end of its handshake, and those are read.
        while let Some(connection) = connections.next().await {
            let front = self.clone();
            tasks.spawn("connection", async move {
                let _connected = front.metrics.connected();
                Connection::new(front.shared, connection.peer(), connection.place())
                    .run(connection)
                    .await;
            });
        }
        connections.all_closed().await;
    }
}
