//! A TCP router, or HAProxy in TCP mode, between clients and two backends of this process: an echo, and a source of a stream.
//!
//! Three loads, one after the other: round trips over connections that stay, connections with one round trip each, and streams.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use futures::future::try_join_all;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use weir_net::{RequestBody, serve_http};
use weir_service::{Context, Trigger};
use weir_tls::ServerTls;

use super::{Measured, PEAK, Settings, processes};
use crate::cpu::{Usages, between};
use crate::servers::{Part, Programs, Servers, TcpRoutes};

/// CPU time of the router for a round trip of 1 KB, µs.
pub(crate) const ROUND_TRIP_CPU: &str = "cpu µs/round trip";
/// Round trips a second.
pub(crate) const ROUND_TRIPS: &str = "round trips/s";
/// CPU time of the router for a new connection with one round trip, µs.
pub(crate) const CONNECTION_CPU: &str = "cpu µs/connection";
/// New connections a second.
pub(crate) const CONNECTIONS: &str = "connections/s";
/// CPU time of the router for a stream of 1 GiB, s.
pub(crate) const STREAM_CPU: &str = "cpu s/GiB";
/// GiB a second over one connection.
pub(crate) const STREAMED: &str = "GiB/s";

/// Bytes of a message, there and back.
const MESSAGE: usize = 1024;
/// Connections that make round trips at a time.
const STAYING: usize = 64;
/// Clients that connect again and again.
const CONNECTING: usize = 16;
/// Bytes of a stream.
const STREAM: u64 = 1 << 30;
/// Bytes that the source writes, and a client reads, at once.
const CHUNK: usize = 256 * 1024;
/// The CPU times in `/proc` come in steps of 10 ms, so there are several streams.
const STREAMS: usize = 4;

pub(super) async fn run(programs: &Programs, settings: Settings) -> anyhow::Result<Measured> {
    let mut servers = Servers::prepare()?;
    let (echo, source) = (echo().await?, source().await?);
    let api = Api::start(&servers, [echo, source]).await?;
    servers.addresses.tcp = Some(api.routes);
    servers.launch(programs, Part::TcpRouter).await?;
    let [echo, source] = api.routes.external;
    for address in [echo, source] {
        servers.listening(address).await?;
    }

    let (trips, of_trips) = measured(&servers, settings, STAYING, async |running, count| {
        let mut stream = TcpStream::connect(echo).await?;
        stream.set_nodelay(true)?;
        while running() {
            round_trip(&mut stream).await?;
            count(1);
        }
        Ok(())
    })
    .await?;
    let (connections, of_connections) = measured(&servers, settings, CONNECTING, async |running, count| {
        while running() {
            let mut stream = TcpStream::connect(echo).await?;
            stream.set_nodelay(true)?;
            round_trip(&mut stream).await?;
            stream.shutdown().await?;
            ensure!(
                stream.read(&mut [0; 1]).await? == 0,
                "the echo says more than it should"
            );
            count(1);
        }
        Ok(())
    })
    .await?;
    let (before, started) = (servers.usages()?, std::time::Instant::now());
    for _ in 0..STREAMS {
        let (mut stream, mut bytes, mut read) = (TcpStream::connect(source).await?, vec![0; CHUNK], 0);
        loop {
            match stream.read(&mut bytes).await? {
                0 => break,
                count => read += count as u64,
            }
        }
        ensure!(read == STREAM, "{read} bytes of {STREAM} arrived");
    }
    let streamed = started.elapsed().as_secs_f64();
    let of_streams = between(&before, &servers.usages()?);

    let seconds = settings.measure.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let streams = STREAMS as f64;
    let peak: f64 = processes(&of_streams, streams)
        .values()
        .map(|process| process.peak_mib)
        .sum();
    Ok(Measured {
        figures: vec![
            (ROUND_TRIP_CPU, cpu(&of_trips) * 1e6 / trips),
            (ROUND_TRIPS, trips / seconds),
            (CONNECTION_CPU, cpu(&of_connections) * 1e6 / connections),
            (CONNECTIONS, connections / seconds),
            (STREAM_CPU, cpu(&of_streams) / streams),
            (STREAMED, streams / streamed),
            (PEAK, peak),
        ],
        processes: processes(&of_trips, trips),
    })
}

/// Runs `clients` for as long as is measured; how often they counted, and what the servers used.
async fn measured(
    servers: &Servers,
    settings: Settings,
    clients: usize,
    client: impl AsyncFn(&dyn Fn() -> bool, &dyn Fn(u64)) -> anyhow::Result<()>,
) -> anyhow::Result<(f64, Usages)> {
    let (running, done) = (AtomicBool::new(true), AtomicU64::new(0));
    let goes_on = || running.load(Ordering::Relaxed);
    let count = |more| {
        done.fetch_add(more, Ordering::Relaxed);
    };
    let all = try_join_all((0..clients).map(|_| client(&goes_on, &count)));
    let watched = async {
        let before = servers.usages()?;
        tokio::time::sleep(settings.measure).await;
        running.store(false, Ordering::Relaxed);
        anyhow::Ok(before)
    };
    let (_, before) = tokio::try_join!(all, watched)?;
    let done = done.into_inner();
    ensure!(done > 0, "nobody was served");
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let done = done as f64;
    Ok((done, between(&before, &servers.usages()?)))
}

fn cpu(usages: &Usages) -> f64 {
    usages.values().map(|usage| usage.cpu.as_secs_f64()).sum()
}

async fn round_trip(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut message = [1; MESSAGE];
    stream.write_all(&message).await?;
    stream.read_exact(&mut message).await?;
    Ok(())
}

/// A backend that answers with what it is told.
async fn echo() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 4 * MESSAGE];
                stream.set_nodelay(true).ok();
                while let Ok(count @ 1..) = stream.read(&mut bytes).await {
                    if stream.write_all(&bytes[..count]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// A backend that says [`STREAM`] bytes and ends.
async fn source() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let bytes = vec![7; CHUNK];
                for _ in 0..STREAM / CHUNK as u64 {
                    if stream.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// A routing API and a UAA that know two routes, which never change.
struct Api {
    routes: TcpRoutes,
    _trigger: Trigger,
}

impl Api {
    async fn start(servers: &Servers, backends: [SocketAddr; 2]) -> anyhow::Result<Self> {
        let identity = servers.identity("routing-api", &["routing-api", "uaa"])?;
        let tls = ServerTls::public(&identity.cert, &identity.key)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let routes = TcpRoutes {
            api: listener.local_addr()?,
            external: servers.addresses.external,
            backends,
        };
        let list: Arc<str> = json!([route(&routes, 0), route(&routes, 1)]).to_string().into();
        let (trigger, context) = Context::new("routing-api");
        let service = tower::service_fn(move |request: Request<RequestBody>| {
            let list = Arc::clone(&list);
            async move {
                let text = match request.uri().path() {
                    "/oauth/token" => {
                        r#"{"access_token": "token", "expires_in": 86400, "token_type": "bearer"}"#.to_owned()
                    }
                    "/routing/v1/tcp_routes" => list.to_string(),
                    "/routing/v1/tcp_routes/events" => {
                        let silence = StreamBody::new(futures::stream::pending::<Result<_, Infallible>>());
                        return Ok(Response::new(silence.boxed_unsync()));
                    }
                    _ => {
                        let mut missing = Response::new(Empty::<Bytes>::new().boxed_unsync());
                        *missing.status_mut() = StatusCode::NOT_FOUND;
                        return Ok(missing);
                    }
                };
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text)).boxed_unsync()))
            }
        });
        tokio::spawn(async move {
            serve_http(listener, &tls, service, context.shutdown.clone(), &context.tasks).await;
        });
        Ok(Self {
            routes,
            _trigger: trigger,
        })
    }
}

fn route(routes: &TcpRoutes, index: usize) -> serde_json::Value {
    json!({
        "router_group_guid": "group",
        "port": routes.external[index].port(),
        "backend_ip": routes.backends[index].ip(),
        "backend_port": routes.backends[index].port(),
        "backend_tls_port": -1,
        "ttl": Duration::from_secs(3600).as_secs(),
    })
}
