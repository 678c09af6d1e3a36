//! The way to a backend: an idle connection, or a new one.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use weir_platform_gorouter_table::{Endpoint, EndpointId, Lease, Protocol};
use weir_service::{Shutdown, Tasks};
use weir_tls::OutboundTls;

use super::answer::{AnswerBody, Home, Source};
use super::dial::{BackendTls, Dialer, tls_failure};
use super::failure::Failure;
use super::pool::IdlePool;
use super::shared::{Shared, SharedPool};
use super::{Exclusive, RequestBody};
use crate::settings::BackendSettings;

/// Bytes of an answer's head where the operator does not say.
const ANSWER_HEAD: usize = 1 << 20;

/// The least that hyper takes as the size of a head.
const LEAST_HEAD: usize = 8192;

/// All connections to backends.
#[derive(Debug)]
pub(crate) struct Backends {
    settings: BackendSettings,
    dialer: Dialer,
    idle: IdlePool<EndpointId>,
    services: IdlePool<Arc<str>>,
    shared: SharedPool,
    tasks: Tasks,
}

/// What a request needed to reach a backend.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Effort {
    /// What TCP took, where a connection was made.
    pub(crate) dial: Option<Duration>,
    /// What TLS took, where a connection with TLS was made.
    pub(crate) tls: Option<Duration>,
    /// The router's own address on the connection.
    pub(crate) local: Option<SocketAddr>,
}

/// A connection that a request may use.
#[derive(Debug)]
pub(crate) enum Ready {
    /// HTTP/1.1, for this request alone.
    Exclusive {
        /// The connection.
        connection: Box<Exclusive>,
        /// Whether it has served another request before.
        used: bool,
    },
    /// HTTP/2, with others.
    Shared(Shared),
}

/// An answer's head, and what its body comes from.
#[derive(Debug)]
pub(crate) struct Answered {
    /// The answer.
    pub(crate) response: Response<Incoming>,
    /// The connection, if it belongs to this answer.
    pub(crate) connection: Option<Box<Exclusive>>,
}

/// Whom a request is sent to, for what is said of a failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receiver<'e> {
    /// Host and port.
    pub(crate) address: &'e str,
    /// `None`: a route service.
    pub(crate) endpoint: Option<EndpointId>,
}

/// A route service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    /// Host and port.
    pub(crate) address: Arc<str>,
    /// The name that its certificate must carry; `None`: it is reached without TLS.
    pub(crate) name: Option<String>,
}

/// A request that failed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// Why.
    pub(crate) failure: Failure,
    /// Whether any byte of the request was written.
    pub(crate) written: bool,
    /// Whether a connection that had been used before turned out to be gone: the backend has done nothing wrong.
    pub(crate) stale: bool,
    /// The request, where nothing of it was sent.
    pub(crate) request: Option<Request<RequestBody>>,
}

impl Failed {
    /// No connection was made.
    pub(crate) fn before_sending(failure: Failure) -> Box<Self> {
        Box::new(Self {
            failure,
            written: false,
            stale: false,
            request: None,
        })
    }
}

impl Backends {
    /// No connections yet.
    pub(crate) fn new(settings: BackendSettings, tls: BackendTls, services: Option<OutboundTls>, tasks: Tasks) -> Self {
        let idle = if settings.keep_alive { settings.idle } else { 0 };
        Self {
            dialer: Dialer::new(settings, tls, services),
            idle: IdlePool::new(idle, settings.idle_per_backend),
            services: IdlePool::new(idle, settings.idle_per_backend),
            shared: SharedPool::new(settings.idle),
            settings,
            tasks,
        }
    }

    /// How long a request may take; `None`: any time.
    pub(crate) fn request_timeout(&self) -> Option<Duration> {
        (!self.settings.request.is_zero()).then_some(self.settings.request)
    }

    /// A connection to `endpoint`; a `fresh` one is made whatever there is.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
        http2: bool,
        fresh: bool,
        effort: &mut Effort,
    ) -> Result<Ready, Failure> {
        let id = endpoint.id();
        let http2 = http2 && endpoint.protocol() == Protocol::Http2;
        if !fresh {
            if http2 && let Some(shared) = self.shared.get(id, Instant::now()) {
                return Ok(Ready::Shared(shared));
            }
            if let Some(connection) = poll_fn(|cx| Poll::Ready(self.idle.take(&id, cx))).await {
                effort.local = connection.counters().local();
                return Ok(Ready::Exclusive { connection, used: true });
            }
        }
        let dialled = self.dialer.dial(endpoint, http2).await?;
        effort.dial = Some(dialled.dial_time);
        effort.tls = dialled.tls_time;
        effort.local = dialled.wire.counters().local();
        let broken = |error: hyper::Error| Failure::Broken {
            reason: error.to_string(),
        };
        if dialled.http2 {
            let shared = Shared::open(dialled.wire, &self.tasks).await.map_err(broken)?;
            self.shared.put(id, shared.clone(), Instant::now());
            return Ok(Ready::Shared(shared));
        }
        let connection = Exclusive::open(dialled.wire, self.answer_head())
            .await
            .map_err(broken)?;
        Ok(Ready::Exclusive {
            connection,
            used: false,
        })
    }

    const fn answer_head(&self) -> usize {
        match self.settings.answer_head {
            0 => ANSWER_HEAD,
            head if head < LEAST_HEAD => LEAST_HEAD,
            head => head,
        }
    }

    /// A connection to a route service; a `fresh` one is made whatever there is.
    pub(crate) async fn connect_service(
        &self,
        service: &Service,
        fresh: bool,
        effort: &mut Effort,
    ) -> Result<Ready, Failure> {
        if !fresh && let Some(connection) = poll_fn(|cx| Poll::Ready(self.services.take(&service.address, cx))).await {
            return Ok(Ready::Exclusive { connection, used: true });
        }
        let dialled = self
            .dialer
            .dial_service(&service.address, service.name.as_deref())
            .await?;
        effort.dial = Some(dialled.dial_time);
        effort.tls = dialled.tls_time;
        let connection = Exclusive::open(dialled.wire, self.answer_head())
            .await
            .map_err(|error| Failure::Broken {
                reason: error.to_string(),
            })?;
        Ok(Ready::Exclusive {
            connection,
            used: false,
        })
    }

    /// Sends a request on a connection and waits for the head of its answer.
    pub(crate) async fn send(
        &self,
        ready: Ready,
        to: &Receiver<'_>,
        request: Request<RequestBody>,
    ) -> Result<Answered, Box<Failed>> {
        match ready {
            Ready::Exclusive { mut connection, used } => {
                let (written, read) = (connection.counters().written(), connection.counters().read());
                let mut failed = match connection.send(request).await {
                    Ok(response) => {
                        return Ok(Answered {
                            response,
                            connection: Some(connection),
                        });
                    }
                    Err(error) => error,
                };
                let request = failed.take_message();
                let written = request.is_none() && connection.counters().written() > written;
                let silent = connection.counters().read() == read;
                let failure = explain(&failed.into_error(), to.address, silent);
                let ended = matches!(failure, Failure::Ended | Failure::Reset { .. });
                Err(Box::new(Failed {
                    failure,
                    written,
                    stale: used && silent && ended,
                    request,
                }))
            }
            Ready::Shared(mut shared) => {
                let answered = match shared.ready().await {
                    Ok(()) => shared.send(request).await,
                    Err(error) => {
                        self.forget_shared(to);
                        return Err(Box::new(Failed {
                            failure: explain(&error, to.address, true),
                            written: false,
                            stale: true,
                            request: Some(request),
                        }));
                    }
                };
                let mut failed = match answered {
                    Ok(response) => {
                        return Ok(Answered {
                            response,
                            connection: None,
                        });
                    }
                    Err(error) => error,
                };
                let request = failed.take_message();
                let error = failed.into_error();
                // A stream that was reset says nothing of the others, an end of the connection does.
                if request.is_some() || error.is_closed() || error.is_canceled() {
                    self.forget_shared(to);
                }
                Err(Box::new(Failed {
                    failure: explain(&error, to.address, true),
                    written: request.is_none(),
                    stale: request.is_some(),
                    request,
                }))
            }
        }
    }

    /// The body of an answer, whose connection lies down at `home` afterwards if there is one.
    pub(crate) async fn body(
        &self,
        body: Incoming,
        connection: Option<Box<Exclusive>>,
        home: Option<Home>,
        lease: Option<Lease>,
    ) -> AnswerBody {
        let source = match (connection, home) {
            (Some(connection), Some(home)) if self.settings.keep_alive => Source::Kept(connection, home),
            (Some(connection), _) => Source::Closing(connection),
            (None, _) => Source::Moved,
        };
        let mut parts = Some((body, source, lease));
        poll_fn(|cx| match parts.take() {
            Some((body, source, lease)) => Poll::Ready(AnswerBody::new(body, source, lease, cx)),
            None => Poll::Pending,
        })
        .await
    }

    fn forget_shared(&self, to: &Receiver<'_>) {
        if let Some(endpoint) = to.endpoint {
            self.shared.forget(endpoint);
        }
    }

    /// Keeps the connection of a request to a route service that is over.
    pub(super) fn give_back_service(&self, service: Arc<str>, connection: Box<Exclusive>) {
        self.services.put(service, connection, Instant::now());
    }

    /// Keeps the connection of a request that is over.
    pub(super) fn give_back(&self, backend: EndpointId, connection: Box<Exclusive>) {
        self.idle.put(backend, connection, Instant::now());
    }

    /// Drops all idle connections to a backend whose route is gone.
    pub(crate) fn forget(&self, backend: EndpointId) {
        self.idle.forget(&backend);
        self.shared.forget(backend);
    }

    /// Drops connections that nobody uses any more, until `shutdown`.
    pub(crate) async fn expire(self: Arc<Self>, shutdown: Shutdown) {
        loop {
            let next = self.idle.expire(Instant::now());
            self.services.expire(Instant::now());
            self.shared.expire(Instant::now());
            if shutdown
                .unless_requested(tokio::time::sleep_until(next))
                .await
                .is_none()
            {
                return;
            }
        }
    }
}

/// Why a request failed on a connection from which nothing of an answer was read if `silent`.
fn explain(error: &hyper::Error, address: &str, silent: bool) -> Failure {
    if let Some(failure) = tls_failure(error) {
        return failure;
    }
    if error.is_user() {
        // The body that the client sends is the only part of a request that can fail.
        return Failure::ClientLeft;
    }
    let system = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    if let Some(system) = system {
        return match system.kind() {
            std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe => Failure::Reset {
                address: address.to_owned(),
            },
            std::io::ErrorKind::UnexpectedEof if silent => Failure::Ended,
            _ => Failure::Broken {
                reason: system.to_string(),
            },
        };
    }
    if silent && (error.is_incomplete_message() || error.is_closed() || error.is_canceled()) {
        return Failure::Ended;
    }
    if error.is_incomplete_message() {
        return Failure::Broken {
            reason: "unexpected EOF".to_owned(),
        };
    }
    Failure::Broken {
        reason: format!("net/http: HTTP/1.x transport connection broken: {error}"),
    }
}
