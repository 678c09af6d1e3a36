//! The life of one connection: who it is from, where it goes, and what became of it.
//!
//! ```text
//! client ─▶ PROXY header? ─▶ client hello, if names decide ─▶ backend in turn ─▶ PROXY header? ─▶ TLS? ─▶ relay
//! ```

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use futures::future::Abortable;
use socket2::SockRef;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use weir_net::{Connection, ProxiedAddresses, ProxyHeader};

use crate::backend::{self, Connected};
use crate::client_hello::{self, Hello};
use crate::config::AcceptProxy;
use crate::ports::ExternalPort;
use crate::relay::{Carried, End, relay};
use crate::router::Router;
use crate::routes::{Backend, Backends};

/// Most bytes that are read before a backend is chosen: as much as a client hello may have in one record of TLS.
const OPENING: usize = 16 * 1024 + 5;

/// Why a connection was not carried.
#[derive(Debug, Error)]
enum Refused {
    /// The client went, or said nothing that was required in time.
    #[error("client ended the connection, or did not begin in time")]
    Client,
    /// The client did not begin with a PROXY header.
    #[error("client does not begin with a PROXY header")]
    NoProxyHeader,
    /// No route is for this name.
    #[error("no route is for the name of the client's hello")]
    NoRoute,
    /// No backend answers.
    #[error("no backend of `{0}` answers")]
    NoBackend(Box<str>),
}

/// Carries a connection until it ends or the router cuts it.
pub(crate) async fn serve(connection: Connection, port: Arc<ExternalPort>, router: Arc<Router>) {
    let (_session, cut) = router.sessions.enter();
    let _open = port.stats.open();
    let peer = connection.peer();
    match Abortable::new(carry(connection, &port, &router), cut).await {
        Ok(Ok(())) => {}
        Ok(Err(refused)) => tracing::debug!(port = port.number, %peer, reason = %refused, "connection is not carried"),
        Err(_) => tracing::debug!(port = port.number, %peer, "connection is cut"),
    }
}

async fn carry(mut connection: Connection, port: &ExternalPort, router: &Router) -> Result<(), Refused> {
    let mut opening = BytesMut::new();
    let deadline = Instant::now() + router.times.hello;
    let addresses = match router.expected {
        AcceptProxy::Off => None,
        expected => read_proxy_header(&mut connection, &mut opening, expected, deadline).await?,
    };
    let routes = port.routes();
    let name = match routes.has_names() {
        true => read_name(&mut connection, &mut opening, deadline).await?,
        false => None,
    };
    let backends = routes.choose(name.as_deref()).ok_or(Refused::NoRoute)?;
    let peer = connection.peer();
    // From here on the connection is somebody's, however long it is silent: only its own idle time ends it.
    let (mut client, place) = connection.into_socket().map_err(|_| Refused::Client)?;
    let _under_way = place.begin();
    let addresses = addresses.unwrap_or_else(|| ProxiedAddresses {
        source: peer,
        destination: client.local_addr().unwrap_or(peer),
    });
    let (backend, connected) = connect(backends, addresses, port, router).await?;
    let idle = router.times.idle;
    let carried = match connected {
        Connected::Plain(mut socket) => {
            let carried = relay(&mut client, &mut socket, opening, &router.pipes, idle).await;
            tell(&carried, &client, &socket);
            carried
        }
        Connected::Tls(mut stream) => {
            let carried = relay(&mut client, &mut *stream, opening, &router.pipes, idle).await;
            tell(&carried, &client, stream.get_ref().0);
            carried
        }
    };
    router.stats.carried(carried.received, carried.sent);
    let Carried { received, sent, end } = carried;
    tracing::debug!(port = port.number, %peer, %backend, received, sent, %end, "connection has ended");
    Ok(())
}

/// Passes a failure on: who gets the end of a stream believes that it was whole.
fn tell(carried: &Carried, client: &TcpStream, backend: &TcpStream) {
    let other = match carried.end {
        End::Finished | End::Idle => return,
        End::Client(_) => backend,
        End::Backend(_) => client,
    };
    // Fails only for a socket that is closed already.
    SockRef::from(other).set_linger(Some(Duration::ZERO)).ok();
}

/// Connects to the first backend that answers, beginning with the one whose turn it is.
async fn connect<'b>(
    backends: &'b Backends,
    addresses: ProxiedAddresses,
    port: &ExternalPort,
    router: &Router,
) -> Result<(&'b Backend, Connected), Refused> {
    let _connecting = router.stats.connecting();
    for backend in backends.in_turn() {
        let started = Instant::now();
        match backend::connect(backend, addresses, router).await {
            Ok(connected) => {
                router.stats.connected(&port.stats, started.elapsed());
                return Ok((backend, connected));
            }
            Err(error) => {
                router.stats.failed(backends.route());
                weir_service::limited!(
                    warn,
                    weir_service::EACH_SECOND,
                    port = port.number,
                    %backend,
                    %error,
                    "backend does not answer"
                );
            }
        }
    }
    Err(Refused::NoBackend(backends.route().into()))
}

/// Reads the header of the PROXY protocol off the connection; what comes behind it stays in `opening`.
async fn read_proxy_header(
    connection: &mut Connection,
    opening: &mut BytesMut,
    expected: AcceptProxy,
    deadline: Instant,
) -> Result<Option<ProxiedAddresses>, Refused> {
    loop {
        match ProxyHeader::parse(opening) {
            ProxyHeader::Incomplete => {}
            ProxyHeader::Present { length, addresses } => {
                opening.advance(length);
                return Ok(addresses);
            }
            ProxyHeader::Absent if expected == AcceptProxy::Optional => return Ok(None),
            ProxyHeader::Absent | ProxyHeader::Malformed => return Err(Refused::NoProxyHeader),
        }
        match read_more(connection, opening, deadline).await {
            More::Read => {}
            // A client that waits for the backend to speak first has no header.
            More::Late | More::Ended if expected == AcceptProxy::Optional => return Ok(None),
            More::Late | More::Ended => return Err(Refused::NoProxyHeader),
            More::Failed => return Err(Refused::Client),
        }
    }
}

/// Reads until the name in the client's hello is known. A client that says something else, or nothing, has none.
async fn read_name(
    connection: &mut Connection,
    opening: &mut BytesMut,
    deadline: Instant,
) -> Result<Option<String>, Refused> {
    loop {
        match client_hello::parse(opening) {
            Hello::Name(name) => return Ok(name.map(Cow::into_owned)),
            Hello::None => return Ok(None),
            Hello::Incomplete if opening.len() >= OPENING => return Ok(None),
            Hello::Incomplete => {}
        }
        match read_more(connection, opening, deadline).await {
            More::Read => {}
            More::Late | More::Ended => return Ok(None),
            More::Failed => return Err(Refused::Client),
        }
    }
}

/// What came of reading.
enum More {
    /// There are more bytes.
    Read,
    /// The client did not say enough in time.
    Late,
    /// The client says no more.
    Ended,
    /// The connection failed.
    Failed,
}

async fn read_more(connection: &mut Connection, opening: &mut BytesMut, deadline: Instant) -> More {
    opening.reserve(OPENING - opening.len().min(OPENING - 1));
    match timeout_at(deadline, connection.read_buf(opening)).await {
        Ok(Ok(0)) => More::Ended,
        Ok(Ok(_)) => More::Read,
        Ok(Err(_)) => More::Failed,
        Err(_) => More::Late,
    }
}
