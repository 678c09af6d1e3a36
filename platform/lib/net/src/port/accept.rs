//! The accept loop of a port: each TCP connection gets a place for its handshake, a TLS handshake with a deadline, and
//! then a place as a caller. On a port without TLS it gets its place as a caller at once.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use weir_service::{Shutdown, Tasks};
use weir_tls::ServerTls;

use super::budget::Budgets;
use super::connection::{Connection, Encrypted, Seated, Transport};
use super::place::Place;
use super::pool::{Full, Pool, SharedPlaces};
use super::{PeerNetwork, PortLimits};
use crate::socket::Socket;

/// How long the accept loop waits after an error, such as when there are no more file descriptors.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The error number for "the process has no more file descriptors" on Linux and macOS.
const EMFILE: i32 = 24;

/// The error number for "the system has no more file descriptors" on Linux and macOS.
const ENFILE: i32 = 23;

/// How long a handshake may still take once shutdown was requested. Its client may have sent a request together with
/// the end of the handshake.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);

/// How many accepted connections may wait until their component takes them.
const ACCEPTED_QUEUE: usize = 64;

/// The shortest time between two warnings about refused connections.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The state that all connections of a port share.
#[derive(Debug)]
struct Port {
    /// `None` on a port that is not encrypted.
    tls: Option<ServerTls>,
    limits: PortLimits,
    shutdown: Shutdown,
    budgets: Budgets,
    handshakes: Arc<Pool>,
    /// The places of callers that show a certificate of the stack's CA.
    known: Arc<Pool>,
    /// The places of all other callers.
    others: Arc<Pool>,
}

/// The accepted connections of a port.
#[derive(Debug)]
pub struct Connections {
    accepted: ReceiverStream<Connection>,
    /// Closed when the last connection has ended: every [`Place`] holds a sender, on which nothing is ever sent.
    open: mpsc::Receiver<Infallible>,
}

impl Connections {
    /// Accepts connections within `limits` until `shutdown` is requested.
    #[must_use]
    pub fn accept(
        listener: TcpListener,
        tls: ServerTls,
        limits: PortLimits,
        shutdown: Shutdown,
        tasks: &Tasks,
    ) -> Self {
        Self::start(listener, Some(tls), limits, None, shutdown, tasks)
    }

    /// Accepts connections that are not encrypted within `limits` until `shutdown` is requested. No caller is known to be of
    /// the stack, so all share the places of `limits.connections`.
    #[must_use]
    pub fn accept_plain(listener: TcpListener, limits: PortLimits, shutdown: Shutdown, tasks: &Tasks) -> Self {
        Self::start(listener, None, limits, None, shutdown, tasks)
    }

    /// Accepts connections that are not encrypted until `shutdown` is requested, in places that this port shares with others;
    /// of `limits`, those of connections do not count.
    #[must_use]
    pub fn accept_plain_in(
        places: &SharedPlaces,
        listener: TcpListener,
        limits: PortLimits,
        shutdown: Shutdown,
        tasks: &Tasks,
    ) -> Self {
        Self::start(listener, None, limits, Some(places), shutdown, tasks)
    }

    fn start(
        listener: TcpListener,
        tls: Option<ServerTls>,
        limits: PortLimits,
        places: Option<&SharedPlaces>,
        shutdown: Shutdown,
        tasks: &Tasks,
    ) -> Self {
        let (accepted, connections) = mpsc::channel(ACCEPTED_QUEUE);
        // Nothing is sent on this channel: it closes when the last connection has dropped its sender.
        let (opened, open) = mpsc::channel(1);
        let shared = || Pool::new(limits.connections, limits.per_address);
        // Where a certificate is required, every caller shows one: `known` has all the places, with the shares of peer
        // networks, and `others` has none.
        let (known, others) = match tls.as_ref().is_some_and(ServerTls::demands_certificates) {
            true => (shared(), Pool::new(0, 0)),
            false => (
                Pool::new(limits.reserved, limits.reserved),
                places.map_or_else(shared, SharedPlaces::pool),
            ),
        };
        let port = Arc::new(Port {
            tls,
            limits,
            shutdown,
            budgets: Budgets::new(limits.held),
            handshakes: shared(),
            known,
            others,
        });
        let handshakes = tasks.clone();
        tasks.spawn("accept connections", async move {
            while let Some(accept) = port.shutdown.unless_requested(listener.accept()).await {
                match accept {
                    Ok((stream, peer)) if port.tls.is_none() => {
                        if let Some(connection) = port.seat(stream, peer, opened.clone()) {
                            // Fails only when the component has stopped.
                            accepted.send(connection).await.ok();
                        }
                    }
                    Ok((stream, peer)) => {
                        // A task for each handshake, so that a slow client delays nobody else.
                        let (port, accepted, opened) = (Arc::clone(&port), accepted.clone(), opened.clone());
                        handshakes.spawn("tls handshake", async move {
                            if let Some(connection) = port.admit(stream, peer, opened).await {
                                // Sending fails only when the component has stopped.
                                accepted.send(connection).await.ok();
                            }
                        });
                    }
                    Err(error) => port.cannot_accept(&error).await,
                }
            }
        });
        Self {
            accepted: ReceiverStream::new(connections),
            open,
        }
    }

    /// Waits for the next connection. Returns `None` after shutdown, when no handshake is under way any more. Cancel
    /// safe.
    pub async fn next(&mut self) -> Option<Connection> {
        self.accepted.next().await
    }

    /// Waits until every connection and every clone of a [`Place`] is gone.
    pub async fn all_closed(self) {
        let Self { accepted, mut open } = self;
        // A connection that finishes its handshake from now on is closed, because the component takes no more.
        drop(accepted);
        open.recv().await;
    }
}

/// A stream of results, which is what tonic's server takes. It never yields an error.
impl Stream for Connections {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.accepted.poll_next_unpin(cx).map(|connection| connection.map(Ok))
    }
}

impl Port {
    /// Gives a new connection that is not encrypted its place.
    fn seat(&self, stream: TcpStream, peer: SocketAddr, open: mpsc::Sender<Infallible>) -> Option<Connection> {
        let network = PeerNetwork::from(peer.ip());
        let held = self.budgets.of_connection(network);
        let place = Place::take(&self.others, network, held, open).map_err(|full| refused(peer, full));
        let place = place.ok()?;
        // Fails only when the client is gone already, which the first read says.
        stream.set_nodelay(true).ok();
        let transport = Transport::Plain(Seated::new(stream, place.seat()));
        Some(Connection::new(transport, peer, place))
    }

    /// Takes a new connection through its handshake, and gives it its place. Returns `None` where the connection is
    /// closed.
    async fn admit(&self, stream: TcpStream, peer: SocketAddr, open: mpsc::Sender<Infallible>) -> Option<Connection> {
        let network = PeerNetwork::from(peer.ip());
        let held = self.budgets.of_connection(network);
        let place = Place::take(&self.handshakes, network, held, open).map_err(|full| refused(peer, full));
        let (place, tls) = (place.ok()?, self.tls.as_ref()?);
        // Whichever comes first: the deadline of the handshake, or a shutdown and the grace time after it.
        let too_late = async {
            let deadline = tokio::time::timeout(self.limits.handshake, self.shutdown.requested());
            if deadline.await.is_ok() {
                tokio::time::sleep(HANDSHAKE_GRACE).await;
            }
        };
        let stream = tokio::select! {
            stream = self.handshake(tls, stream, &place) => stream,
            () = too_late => {
                tracing::debug!(%peer, "TLS handshake timed out");
                return None;
            }
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                let error = weir_tls::explain(&peer.to_string(), error);
                tracing::debug!(%peer, error = %weir_error::chain(&error), "TLS handshake failed");
                return None;
            }
        };
        let seated = match tls.knows(stream.get_ref().1) {
            // When the reserve is full, a caller of the stack may still have a place that is open to everybody.
            true => place.change(&self.known).or_else(|_| place.change(&self.others)),
            false => place.change(&self.others),
        };
        let place = seated.map_err(|full| refused(peer, full)).ok()?;
        Some(Connection::new(Transport::Tls(Box::new(stream)), peer, place))
    }

    async fn handshake(&self, tls: &ServerTls, stream: TcpStream, place: &Place) -> io::Result<Encrypted> {
        stream.set_nodelay(true)?;
        let stream = Seated::new(stream, place.seat());
        let socket = Socket::new(stream, self.limits.read_ahead, self.limits.gathers_writes);
        tls.acceptor().accept(socket).await
    }

    /// Handles an error of `accept`. There are no more file descriptors, or the client left before it was accepted: in
    /// both cases the listener can accept the next connection.
    async fn cannot_accept(&self, error: &io::Error) {
        weir_service::limited!(warn, WARNING_INTERVAL, %error, "cannot accept a connection");
        if matches!(error.raw_os_error(), Some(EMFILE | ENFILE)) {
            // Closing an idle connection frees a file descriptor for a new caller. The place of a caller of the stack
            // goes last.
            let pools = [&self.handshakes, &self.others, &self.known];
            let _made_room = pools.iter().any(|pool| pool.make_room());
        }
        self.shutdown.unless_requested(tokio::time::sleep(RETRY_DELAY)).await;
    }
}

fn refused(peer: SocketAddr, full: Full) {
    // Any client can cause this line as often as it likes.
    weir_service::limited!(
        warn,
        WARNING_INTERVAL,
        %peer,
        reason = full.as_str(),
        "connection refused"
    );
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// A port without TLS passes bytes on as they are, and gives up its idle connection when its places are used up.
    #[tokio::test]
    async fn a_plain_port_has_places_too() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (trigger, shutdown) = Shutdown::new();
        let tasks = Tasks::new(trigger, weir_service::Health::new());
        let mut connections = Connections::accept_plain(listener, PortLimits::of(1), shutdown, &tasks);
        let mut first = TcpStream::connect(address).await.expect("connected");
        let mut served = connections.next().await.expect("a connection");
        assert!(!served.is_tls());
        assert_eq!(served.peer(), first.local_addr().expect("an address"));
        first.write_all(b"ping").await.expect("written");
        let mut read = [0; 4];
        served.read_exact(&mut read).await.expect("read");
        assert_eq!(&read, b"ping");
        let _second = TcpStream::connect(address).await.expect("connected");
        let second = connections.next().await.expect("a connection");
        assert_eq!(
            served.read(&mut read).await.expect("read"),
            0,
            "the idle one was given up"
        );
        let busy = second.place().begin();
        let mut third = TcpStream::connect(address).await.expect("connected");
        assert_eq!(third.read(&mut read).await.ok().unwrap_or(0), 0, "the busy one stays");
        drop(busy);
    }

    /// Two ports that share their places: what one of them holds, the other has not.
    #[tokio::test]
    async fn ports_share_places() {
        let places = SharedPlaces::new(1, 1);
        let (trigger, shutdown) = Shutdown::new();
        let tasks = Tasks::new(trigger, weir_service::Health::new());
        let mut ports = Vec::new();
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let limits = PortLimits::of(0);
            let port = Connections::accept_plain_in(&places, listener, limits, shutdown.clone(), &tasks);
            ports.push((address, port));
        }
        let mut first = TcpStream::connect(ports[0].0).await.expect("connected");
        let connection = ports[0].1.next().await.expect("a connection");
        let (mut socket, place) = connection.into_socket().expect("a plain connection");
        let under_way = place.begin();
        let mut refused = TcpStream::connect(ports[1].0).await.expect("connected");
        assert_eq!(refused.read(&mut [0; 1]).await.ok().unwrap_or(0), 0);
        socket.write_all(b"ping").await.expect("written");
        first.read_exact(&mut [0; 4]).await.expect("read");
        drop((socket, under_way, place));
        let _second = TcpStream::connect(ports[1].0).await.expect("connected");
        ports[1].1.next().await.expect("the place of the first");
    }
}
