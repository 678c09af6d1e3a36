//! The names proxy as a component.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use weir_net::{Connection, Connections, Place, PortLimits, listen};
use weir_service::{Context, Shutdown, Tasks};

use crate::way::{Refusal, Wanted, way};
use crate::{Config, Error, forward, tunnel};

/// How long the head of a request may take, also after an earlier request on its connection.
const HEAD: Duration = Duration::from_secs(60);

/// Bytes of the head of a request.
const MAX_HEAD: usize = 64 * 1024;

/// How long requests under way may take once shutdown was requested.
const LAST_REQUESTS: Duration = Duration::from_secs(2);

/// A proxy that listens.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    config: Config,
    context: Context,
}

/// What the connections of a proxy share.
#[derive(Debug, Clone)]
struct Proxy {
    config: Arc<Config>,
    shutdown: Shutdown,
    tasks: Tasks,
}

type Answer = Response<Either<Full<Bytes>, Incoming>>;

impl Server {
    /// Opens the port.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub async fn bind(config: Config, context: Context) -> Result<Self, Error> {
        let (listener, address) = listen(config.listen.socket()).await?;
        Ok(Self {
            listener,
            address,
            config,
            context,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until shutdown is requested.
    ///
    /// # Errors
    /// None by now.
    pub async fn run(self) -> Result<(), Error> {
        let Self {
            listener,
            config,
            context,
            ..
        } = self;
        let (shutdown, tasks) = (context.shutdown, context.tasks);
        // Most callers have the address of this machine.
        let limits = PortLimits {
            per_address: config.max_connections,
            ..PortLimits::of(config.max_connections)
        };
        let mut connections = Connections::accept_plain(listener, limits, shutdown.clone(), &tasks);
        let proxy = Proxy {
            config: Arc::new(config),
            shutdown: shutdown.clone(),
            tasks: tasks.clone(),
        };
        while let Some(Some(connection)) = shutdown.unless_requested(connections.next()).await {
            tasks.spawn("proxy connection", proxy.clone().serve(connection));
        }
        Ok(())
    }
}

impl Proxy {
    async fn serve(self, connection: Connection) {
        let (peer, place) = (connection.peer().ip(), connection.place());
        let shutdown = self.shutdown.clone();
        let service = service_fn(|request| {
            let (proxy, place) = (self.clone(), place.clone());
            async move { Ok::<_, Infallible>(proxy.answer(request, peer, &place).await) }
        });
        let mut server = http1::Builder::new();
        server
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(MAX_HEAD)
            .preserve_header_case(true);
        let serving = server
            .serve_connection(TokioIo::new(connection), service)
            .with_upgrades();
        let mut serving = pin!(serving);
        let ended = tokio::select! {
            ended = &mut serving => Some(ended),
            () = shutdown.requested() => {
                serving.as_mut().graceful_shutdown();
                tokio::time::timeout(LAST_REQUESTS, serving).await.ok()
            }
        };
        if let Some(Err(error)) = ended {
            tracing::debug!(%peer, error = %weir_error::chain(&error), "connection of a client ended");
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: IpAddr, place: &Place) -> Answer {
        let answered = match *request.method() {
            Method::CONNECT => self.connect(request, peer, place).await,
            _ => self.forward(request, peer, place).await,
        };
        answered.unwrap_or_else(|(status, text)| {
            let mut answer = Response::new(Either::Left(Full::from(format!("{text}\n"))));
            *answer.status_mut() = status;
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            answer.headers_mut().insert(header::CONTENT_TYPE, plain);
            answer
        })
    }

    /// Opens a tunnel.
    async fn connect(&self, mut request: Request<Incoming>, peer: IpAddr, place: &Place) -> Result<Answer, Refusal> {
        let wanted = request.uri().authority().and_then(|authority| {
            let (host, port) = (authority.host(), authority.port_u16()?);
            Some(Wanted { host, port })
        });
        let wanted = wanted.ok_or_else(|| bad("CONNECT needs `host:port`"))?;
        let server = way(&self.config, &wanted, peer)?.connect().await?;
        let client = hyper::upgrade::on(&mut request);
        let tunnel = tunnel::run(client, server, place.begin(), self.shutdown.clone());
        self.tasks.spawn("tunnel", tunnel);
        Ok(Response::new(Either::Left(Full::default())))
    }

    /// Passes a request on.
    async fn forward(&self, request: Request<Incoming>, peer: IpAddr, place: &Place) -> Result<Answer, Refusal> {
        let _under_way = place.begin();
        let uri = request.uri();
        if uri.scheme() != Some(&http::uri::Scheme::HTTP) {
            return Err(bad(
                "this is an HTTP proxy: set `https_proxy` and `http_proxy` to its address, and ask for the name itself",
            ));
        }
        let host = uri.host().ok_or_else(|| bad("URI names no host"))?;
        let port = uri.port_u16().unwrap_or(80);
        let server = way(&self.config, &Wanted { host, port }, peer)?.connect().await?;
        let answer = forward::run(request, server, self.shutdown.clone(), &self.tasks).await?;
        Ok(answer.map(Either::Right))
    }
}

fn bad(what: &str) -> Refusal {
    (StatusCode::BAD_REQUEST, what.to_owned())
}

#[cfg(test)]
mod tests;
