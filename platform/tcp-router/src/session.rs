//! The life of one connection: who it is from, where it goes, and what became of it.
//!
//! ```text
//! client ─▶ PROXY header? ─▶ client hello, if names decide ─▶ backend in turn ─▶ PROXY header? ─▶ TLS? ─▶ relay
//! ```

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use futures::future::Abortable;
use socket2::SockRef;
use thiserror::Error;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use weir_applog::ConnectionRecord;
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

/// Why a connection was not carried to its end.
#[derive(Debug, Error)]
enum Broken {
    /// The client went before a backend was chosen.
    #[error("client ended the connection, or did not begin in time")]
    ClientGone,
    /// The client did not begin with a PROXY header.
    #[error("client does not begin with a PROXY header")]
    NoProxyHeader,
    /// No route is for this name.
    #[error("no route is for the name of the client's hello")]
    NoRoute,
    /// No backend answers.
    #[error("no backend answers")]
    NoBackend,
    /// It ended otherwise than by both sides.
    #[error("{0}")]
    End(End),
    /// The router stops.
    #[error("router stops")]
    Cut,
}

impl Broken {
    /// The word in the connection's timer.
    const fn as_str(&self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::NoProxyHeader => "no_proxy_header",
            Self::NoRoute => "no_route",
            Self::NoBackend => "no_backend",
            Self::End(End::Client(_)) => "client_failed",
            Self::End(End::Backend(_)) => "backend_failed",
            Self::End(End::Idle) => "idle",
            Self::End(End::Finished) => "",
            Self::Cut => "router_stops",
        }
    }
}

/// What is told of a connection when it has ended.
#[derive(Debug, Default)]
struct Story {
    /// The client, where a PROXY header names another one than the peer.
    client: Option<SocketAddr>,
    backends: Option<Arc<Backends>>,
    backend: Option<Backend>,
    connect: Option<Duration>,
    failed_attempts: u32,
    carried: Carried,
}

/// Carries a connection until it ends or the router cuts it.
pub(crate) async fn serve(connection: Connection, port: Arc<ExternalPort>, router: Arc<Router>) {
    let (_session, cut) = router.sessions.enter();
    let _open = port.stats.open();
    let (peer, started, since) = (connection.peer(), router.clock.now_nanos(), Instant::now());
    let mut story = Story::default();
    let carried = Abortable::new(carry(connection, &port, &router, &mut story), cut).await;
    let broken = carried.unwrap_or(Err(Broken::Cut)).err();
    router.stats.carried(story.carried.received, story.carried.sent);
    if let Some(reason) = &broken {
        tracing::debug!(port = port.number, %peer, backend = ?story.backend, %reason, "connection is broken");
    }
    if let Some(telemetry) = &router.telemetry {
        telemetry.record(&ConnectionRecord {
            started,
            took: since.elapsed(),
            port: port.number,
            route: story.backends.as_ref().map_or("", |backends| backends.route()),
            remote_address: &story.client.unwrap_or(peer).to_string(),
            backend: &story.backend.as_ref().map(Backend::to_string).unwrap_or_default(),
            instance_id: story.backend.as_ref().map_or("", |backend| &backend.instance_id),
            connect: story.connect,
            failed_attempts: story.failed_attempts,
            received_bytes: story.carried.received,
            sent_bytes: story.carried.sent,
            error: broken.as_ref().map_or("", Broken::as_str),
        });
    }
}

async fn carry(
    mut connection: Connection,
    port: &ExternalPort,
    router: &Router,
    story: &mut Story,
) -> Result<(), Broken> {
    let mut opening = BytesMut::new();
    let deadline = Instant::now() + router.times.hello;
    let addresses = match router.expected {
        AcceptProxy::Off => None,
        expected => read_proxy_header(&mut connection, &mut opening, expected, deadline).await?,
    };
    story.client = addresses.map(|addresses| addresses.source);
    let routes = port.routes();
    let name = match routes.has_names() {
        true => read_name(&mut connection, &mut opening, deadline).await?,
        false => None,
    };
    let backends = routes.choose(name.as_deref()).cloned();
    drop((routes, name));
    story.backends.clone_from(&backends);
    let backends = backends.ok_or(Broken::NoRoute)?;
    let peer = connection.peer();
    // From here on the connection is somebody's, however long it is silent: only its own idle time ends it.
    let (mut client, place) = connection.into_socket().map_err(|_| Broken::ClientGone)?;
    let _under_way = place.begin();
    let addresses = match (addresses, router.announced) {
        (Some(addresses), _) => addresses,
        (None, None) => ProxiedAddresses {
            source: peer,
            destination: peer,
        },
        // Only a header says which address of the router the client has connected to.
        (None, Some(_)) => ProxiedAddresses {
            source: peer,
            destination: client.local_addr().unwrap_or(peer),
        },
    };
    let connected = connect(&backends, addresses, port, router, story).await?;
    drop(backends);
    let (idle, carried) = (router.times.idle, &mut story.carried);
    let end = match connected {
        Connected::Plain(mut socket) => {
            let end = relay(&mut client, &mut socket, opening, &router.pipes, idle, carried).await;
            pass_on(&end, &client, &socket);
            end
        }
        Connected::Tls(mut stream) => {
            let end = relay(&mut client, &mut *stream, opening, &router.pipes, idle, carried).await;
            pass_on(&end, &client, stream.get_ref().0);
            end
        }
    };
    match end {
        End::Finished => Ok(()),
        end => Err(Broken::End(end)),
    }
}

/// Passes a failure on: a program that gets the end of a stream believes that it was whole.
fn pass_on(end: &End, client: &TcpStream, backend: &TcpStream) {
    let other = match end {
        End::Finished | End::Idle => return,
        End::Client(_) => backend,
        End::Backend(_) => client,
    };
    // Fails only for a socket that is closed already.
    SockRef::from(other).set_linger(Some(Duration::ZERO)).ok();
}

/// Connects to the first backend that answers, beginning with the one whose turn it is.
async fn connect(
    backends: &Backends,
    addresses: ProxiedAddresses,
    port: &ExternalPort,
    router: &Router,
    story: &mut Story,
) -> Result<Connected, Broken> {
    let _connecting = router.stats.connecting();
    for backend in backends.in_turn() {
        let started = Instant::now();
        match backend::connect(backend, addresses, router).await {
            Ok(connected) => {
                let took = started.elapsed();
                router.stats.connected(&port.stats, took);
                story.connect = Some(took);
                story.backend = Some(backend.clone());
                return Ok(connected);
            }
            Err(error) => {
                router.stats.failed(backends.route());
                story.failed_attempts += 1;
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
    Err(Broken::NoBackend)
}

/// Reads the header of the PROXY protocol off the connection; what comes behind it stays in `opening`.
async fn read_proxy_header(
    connection: &mut Connection,
    opening: &mut BytesMut,
    expected: AcceptProxy,
    deadline: Instant,
) -> Result<Option<ProxiedAddresses>, Broken> {
    loop {
        match ProxyHeader::parse(opening) {
            ProxyHeader::Incomplete => {}
            ProxyHeader::Present { length, addresses } => {
                opening.advance(length);
                return Ok(addresses);
            }
            ProxyHeader::Absent if expected == AcceptProxy::Optional => return Ok(None),
            ProxyHeader::Absent | ProxyHeader::Malformed => return Err(Broken::NoProxyHeader),
        }
        match read_more(connection, opening, deadline).await {
            More::Read => {}
            // A client that waits for the backend to speak first has no header.
            More::Late | More::Ended if expected == AcceptProxy::Optional => return Ok(None),
            More::Late | More::Ended => return Err(Broken::NoProxyHeader),
            More::Failed => return Err(Broken::ClientGone),
        }
    }
}

/// Reads until the name in the client's hello is known. A client that says something else, or nothing, has none.
async fn read_name(
    connection: &mut Connection,
    opening: &mut BytesMut,
    deadline: Instant,
) -> Result<Option<String>, Broken> {
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
            More::Failed => return Err(Broken::ClientGone),
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
