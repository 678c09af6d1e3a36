//! Opens HTTP connections to a drain, and keeps account of the POSTs on each.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;
use weir_service::Tasks;
use weir_tls::ALPN_H2;

use crate::dial::dial;
use crate::secure::{Secure, peer};
use crate::{Binding, DrainUrl, Failure, Settings, Stage};

/// The interval of HTTP/2 pings while an answer is awaited.
const PING_EVERY: Duration = Duration::from_secs(10);

/// The longest headers of an answer, in bytes.
const MAX_HEADERS: u32 = 64 * 1024;

/// Opens connections to one drain.
#[derive(Debug)]
pub(super) struct Opener {
    url: DrainUrl,
    secure: Secure,
    settings: Settings,
    tasks: Tasks,
}

/// Spawns the tasks that hyper needs for HTTP/2 streams.
#[derive(Debug, Clone)]
struct OnTasks(Tasks);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for OnTasks {
    fn execute(&self, work: F) {
        self.0.spawn("drain HTTP/2 stream", work);
    }
}

/// The sending side of a connection, by protocol.
#[derive(Debug)]
pub(super) enum Channel {
    /// HTTP/1.1, which carries one POST at a time.
    Http1(http1::SendRequest<Full<Bytes>>),
    /// HTTP/2, which carries several POSTs at a time.
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// A connection of the pool.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) number: u64,
    /// The sending side; `None` while an HTTP/1.1 connection is in use.
    channel: Option<Channel>,
    is_http2: bool,
    under_way: usize,
    opened: Instant,
    used: Instant,
    /// Whether the connection has carried a POST to its answer.
    pub(super) proven: bool,
    broken: bool,
    driver: Driver,
}

/// The right to send one POST on a connection.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) number: u64,
    pub(super) channel: Channel,
    /// The reason why the connection ended, as soon as it has.
    pub(super) end: watch::Receiver<Option<Failure>>,
}

/// A lease that is returned; without a channel if the connection cannot be used any more.
#[derive(Debug)]
pub(super) struct Returned {
    pub(super) number: u64,
    pub(super) channel: Option<Channel>,
}

/// The task that moves the bytes of a connection. Dropping it ends the connection.
#[derive(Debug)]
struct Driver {
    abort: AbortHandle,
    end: watch::Receiver<Option<Failure>>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

impl Opener {
    pub(super) fn new(binding: &Binding, settings: &Settings, tasks: &Tasks) -> Result<Self, Failure> {
        Ok(Self {
            url: binding.url.clone(),
            secure: Secure::new(binding, settings)?,
            settings: settings.clone(),
            tasks: tasks.clone(),
        })
    }

    /// Opens a new connection, with the protocol that the drain selects.
    pub(super) async fn open(&self, number: u64) -> Result<Connection, Failure> {
        let stream = dial(&self.url, &self.settings, &self.tasks, None).await?;
        let stream = self.secure.handshake(stream, &self.settings).await?;
        self.over(stream, number).await
    }

    /// Makes a connection over an open TLS stream.
    pub(super) async fn over(&self, stream: TlsStream<TcpStream>, number: u64) -> Result<Connection, Failure> {
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(ALPN_H2);
        let io = TokioIo::new(stream);
        let (channel, driver) = if is_http2 {
            let mut builder = http2::Builder::new(OnTasks(self.tasks.clone()));
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(self.settings.http_timeout)
                .max_header_list_size(MAX_HEADERS);
            let (sender, connection) = builder.handshake(io).await.map_err(|error| self.explain(&error))?;
            (Channel::Http2(sender), self.drive(connection))
        } else {
            let mut builder = http1::Builder::new();
            builder.max_buf_size(MAX_HEADERS as usize);
            let (sender, connection) = builder.handshake(io).await.map_err(|error| self.explain(&error))?;
            (Channel::Http1(sender), self.drive(connection))
        };
        Ok(Connection {
            number,
            channel: Some(channel),
            is_http2,
            under_way: 0,
            opened: Instant::now(),
            used: Instant::now(),
            proven: false,
            broken: false,
            driver,
        })
    }

    /// Spawns the task that moves the connection's bytes.
    fn drive<C>(&self, connection: C) -> Driver
    where
        C: Future<Output = hyper::Result<()>> + Send + 'static,
    {
        let (ended, end) = watch::channel(None);
        let (secure, url) = (self.secure.clone(), self.url.clone());
        let task = self.tasks.spawn("drain HTTP connection", async move {
            let failure = match connection.await {
                Ok(()) => closed(&url),
                Err(error) => explain(&secure, &url, &error),
            };
            ended.send_replace(Some(failure));
        });
        Driver {
            abort: task.abort_handle(),
            end,
        }
    }

    fn explain(&self, error: &hyper::Error) -> Failure {
        explain(&self.secure, &self.url, error)
    }
}

fn closed(url: &DrainUrl) -> Failure {
    Failure::new(
        Stage::Closed,
        format!("`{}` closed the connection without an answer", peer(url)),
    )
    .hint("the drain's log, or that of a proxy before it, should say why")
}

/// Returns the failure for an error of a connection.
fn explain(secure: &Secure, url: &DrainUrl, error: &hyper::Error) -> Failure {
    if let Some(explained) = secure.explain_wrapped(error) {
        return explained;
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return closed(url);
    }
    let text = format!("connection to `{}` broke: {}", peer(url), weir_error::chain(error));
    Failure::new(Stage::Closed, text).hint("the drain's log, or that of a proxy before it, should say why")
}

impl Connection {
    /// Takes room for one more POST, if there is any; `streams` is the limit for HTTP/2.
    pub(super) fn lease(&mut self, streams: usize, life: Option<Duration>) -> Option<Lease> {
        if self.broken || self.is_old(life) || self.under_way >= if self.is_http2 { streams } else { 1 } {
            return None;
        }
        let channel = match self.channel.as_ref()? {
            Channel::Http2(sender) => Channel::Http2(sender.clone()),
            // HTTP/1.1 carries one request at a time, so its sender is lent out as a whole.
            Channel::Http1(_) => self.channel.take()?,
        };
        self.under_way += 1;
        Some(Lease {
            number: self.number,
            channel,
            end: self.driver.end.clone(),
        })
    }

    pub(super) fn give_back(&mut self, returned: Returned, healthy: bool) {
        self.under_way = self.under_way.saturating_sub(1);
        self.used = Instant::now();
        self.proven |= healthy;
        match returned.channel {
            Some(channel) if !self.is_http2 => self.channel = Some(channel),
            Some(_) => {}
            // No further POST is sent, but those under way over HTTP/2 may still be answered.
            None => self.broken = true,
        }
    }

    /// Whether no POST is under way and none may be sent any more.
    pub(super) fn is_over(&self, life: Option<Duration>) -> bool {
        let closed = match &self.channel {
            Some(Channel::Http1(sender)) => sender.is_closed(),
            Some(Channel::Http2(sender)) => sender.is_closed(),
            None => false,
        };
        self.under_way == 0 && (self.broken || closed || self.is_old(life))
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        (self.under_way == 0).then_some(self.used)
    }

    fn is_old(&self, life: Option<Duration>) -> bool {
        life.is_some_and(|life| self.opened.elapsed() >= life)
    }
}
