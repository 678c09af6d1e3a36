//! The syslog server as a component.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_rpc::{Channel, Target};
use weir_service::{Context, Shutdown};
use weir_tls::{ClientTls, ServerTls};

use crate::connection::{Connection, LAST_WORDS, Shared};
use crate::metrics::Metrics;
use crate::outbox::outbox;
use crate::{Config, Error};

/// The name that the log cache's certificate must carry (contract §1).
const LOG_CACHE: &str = "log-cache";

/// A sender that has not finished its TLS handshake by then is cut off.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait when the system has no more file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// What the kernel may hold of one connection. Senders take for delivered what is in there, so it is no larger than a
/// fast network needs.
const RECEIVE_BUFFER: u32 = 128 << 10;

/// How much is read ahead for TLS, which would ask for a few KiB at a time.
const READ_AHEAD: usize = 32 << 10;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A syslog server that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: ServerTls,
    client_tls: ClientTls,
    config: Config,
    context: Context,
}

impl Server {
    /// Reads the certificates and opens the port.
    ///
    /// # Errors
    /// When a certificate cannot be used or the port is taken.
    pub async fn bind(config: Config, context: Context) -> Result<Self, Error> {
        let tls = if config.client_certificates {
            ServerTls::mutual(&config.identity)?
        } else {
            ServerTls::public(&config.identity.cert, &config.identity.key)?
        };
        let client_tls = ClientTls::mutual(&config.log_cache_identity)?;
        let listen = |source| Error::Listen {
            address: config.listen.socket(),
            source,
        };
        let listener = listener(config.listen.socket()).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self {
            listener,
            address,
            // Syslog has no name in ALPN.
            tls: tls.with_alpn(&[]),
            client_tls,
            config,
            context,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested: then what senders have sent by then is taken, and leaves for the log cache.
    /// What could not leave in time is counted.
    ///
    /// # Errors
    /// None; for the form that all components have.
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
        let metrics = Metrics::register(&weir_telemetry::meter(context.component), &context.ledger);
        let books = (Arc::clone(&context.ledger), Arc::clone(&metrics));
        let (give_up, gave_up) = Shutdown::new();
        let (outbox, shipper) = outbox(channel, config.batch, config.buffer, books, gave_up);
        let shipping = context.tasks.spawn("ship to the log cache", shipper.run());
        let front = Front {
            tls,
            metrics,
            shared: Shared {
                framing: config.framing,
                max_message: config.max_message,
                max_batch: config.batch.envelopes,
                idle_timeout: config.idle_timeout,
                outbox,
                ledger: Arc::clone(&context.ledger),
                clock: context.clock.clone(),
                shutdown: context.shutdown.clone(),
            },
        };
        let work = async {
            let places = Arc::new(Semaphore::new(config.max_connections));
            front.accept(listener, &places, &context).await;
            // Every place is free again when the last connection has ended.
            drop(places.acquire_many(all(config.max_connections)).await);
            // With the last outbox gone the shipper ends when all is sent. A panic there is the tasks' to report.
            drop(front);
            drop(shipping.await);
        };
        let deadline = async {
            context.shutdown.requested().await;
            tokio::time::sleep(config.drain).await;
            tracing::warn!("the log cache did not take everything before the drain deadline");
            give_up.fire();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = work => {}
            () = deadline => {}
        }
        Ok(())
    }
}

fn all(places: usize) -> u32 {
    u32::try_from(places).expect("limited by the configuration")
}

/// A listener whose connections have small receive buffers.
fn listener(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // As `TcpListener::bind` does: a restart need not wait for the connections of before.
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
    /// Accepts until shutdown is requested; over the limit further connections wait in the kernel's queue.
    async fn accept(&self, listener: TcpListener, places: &Arc<Semaphore>, context: &Context) {
        let shutdown = &context.shutdown;
        while let Some(Ok(place)) = shutdown.unless_requested(Arc::clone(places).acquire_owned()).await {
            let Some(accepted) = shutdown.unless_requested(listener.accept()).await else {
                return;
            };
            match accepted {
                Ok((stream, peer)) => {
                    let front = self.clone();
                    context
                        .tasks
                        .spawn("connection", async move { front.connection(stream, peer, place).await });
                }
                Err(error) => {
                    weir_telemetry::limited!(
                        warn,
                        weir_telemetry::EACH_SECOND,
                        error = %error,
                        "cannot accept a connection"
                    );
                    shutdown.unless_requested(tokio::time::sleep(ACCEPT_AGAIN)).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let stream = BufReader::with_capacity(READ_AHEAD, stream);
        let handshake = self.tls.acceptor().accept(stream);
        // A sender may have spoken before the server knows that the handshake is over: it is heard out.
        let too_late = async {
            let shutdown = &self.shared.shutdown;
            let stopping = tokio::time::timeout(HANDSHAKE_DEADLINE, shutdown.requested()).await;
            if stopping.is_ok() {
                tokio::time::sleep(LAST_WORDS).await;
            }
        };
        let accepted = tokio::select! {
            accepted = handshake => Some(accepted),
            () = too_late => None,
        };
        match accepted {
            Some(Ok(stream)) => {
                let _connected = self.metrics.connected();
                Connection::new(self.shared, peer).run(stream).await;
            }
            Some(Err(error)) => {
                let error = weir_tls::explain(&peer.to_string(), error);
                tracing::debug!(%peer, error = %weir_error::chain(&error), "TLS handshake failed");
            }
            None => tracing::debug!(%peer, "TLS handshake timed out"),
        }
        drop(place);
    }
}
