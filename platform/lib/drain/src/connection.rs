//! A connection to a drain, whatever stands behind it: shipments in, what became of them out.
//!
//! ```text
//! Sender::send ─▶ window (bytes, count) ─▶ a task: writes, watches the read side, waits ─▶ Outcomes::next
//! ```
//!
//! The window is taken when a shipment is handed over and freed when its last outcome was *read*: [`Sender::send`] and
//! [`Outcomes::next`] must be polled side by side, as `select!` does.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::client::TlsStream;
use weir_service::Tasks;

use crate::arrived::Metered;
use crate::dial::dial;
use crate::http::Transport;
use crate::secure::Secure;
use crate::{Binding, Failure, Scheme, Settings, Stage, tcp};

/// Most shipments on their way over one connection.
const MAX_SHIPMENTS: usize = 1024;

/// Messages that travel together, framed as the drain's scheme wants it.
#[derive(Clone)]
pub struct Shipment {
    /// Its number on this connection: 1, 2, 3, …
    pub sequence: u64,
    /// The messages: octet counted for `syslog` and `syslog-tls`, else each ending in a newline.
    pub bytes: Bytes,
    /// Where each message ends in `bytes`.
    pub ends: Arc<[u32]>,
    /// When the oldest of them came in, in nanoseconds since the epoch: tells apart shipments that say the same, and stays
    /// when one is sent again.
    pub arrived: i64,
}

impl fmt::Debug for Shipment {
    /// Without what people wrote.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shipment")
            .field("sequence", &self.sequence)
            .field("bytes", &self.bytes.len())
            .field("messages", &self.ends.len())
            .finish()
    }
}

/// What became of a shipment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// TCP and TLS: all of it is in the socket. [`Outcome::Settled`] follows, unless the connection breaks.
    Written(u64),
    /// It need never be sent again. HTTP: the drain took it. TCP and TLS: it left the resend window.
    Settled(u64),
    /// It will never be taken, in whole or in part; other shipments are not concerned, unless
    /// [`drain_wide`](Failure::drain_wide) says so.
    Rejected {
        /// Which one.
        sequence: u64,
        /// Which of its messages were refused, and why; at least one. The others were taken.
        refused: Vec<Refused>,
    },
    /// The connection is over, nothing follows. What has neither been settled nor rejected is to be sent again on another
    /// one. Comes as well, with [`Stage::Closed`], when the [`Sender`] was dropped and everything is settled.
    Broken(Failure),
}

/// Messages of a shipment that were refused together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which ones, counted from zero.
    pub messages: Range<u32>,
    /// Why.
    pub failure: Failure,
}

/// The connection takes no more: [`Outcomes`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("connection to the drain is over")]
pub struct Closed;

/// A shipment with the room that it takes.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) shipment: Shipment,
    pub(crate) room: Room,
}

/// Room in the window; given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    _bytes: OwnedSemaphorePermit,
    _count: OwnedSemaphorePermit,
}

/// Takes shipments. When it is dropped, what it took is sent to the end and settled.
#[derive(Debug)]
pub struct Sender {
    bytes: Arc<Semaphore>,
    count: Arc<Semaphore>,
    room: u32,
    accepted: mpsc::Sender<Accepted>,
}

impl Sender {
    /// Hands a shipment over; waits while the window is full (a shipment larger than the window waits until it is alone).
    /// Cancel safe: a shipment is taken whole at the moment this returns, or not at all.
    ///
    /// # Errors
    /// When the connection is over.
    pub async fn send(&mut self, shipment: Shipment) -> Result<(), Closed> {
        let size = u32::try_from(shipment.bytes.len()).unwrap_or(u32::MAX).min(self.room);
        let count = Arc::clone(&self.count).acquire_owned().await.map_err(|_| Closed)?;
        let bytes = Arc::clone(&self.bytes)
            .acquire_many_owned(size)
            .await
            .map_err(|_| Closed)?;
        let place = self.accepted.reserve().await.map_err(|_| Closed)?;
        place.send(Accepted {
            shipment,
            room: Room {
                _bytes: bytes,
                _count: count,
            },
        });
        Ok(())
    }
}

/// Says what became of the shipments. When it is dropped, the connection ends at once.
#[derive(Debug)]
pub struct Outcomes {
    reports: mpsc::Receiver<Report>,
    over: bool,
}

impl Outcomes {
    /// The next outcome, in the order in which they came about. Cancel safe. After [`Outcome::Broken`] it waits for ever.
    pub async fn next(&mut self) -> Outcome {
        if self.over {
            return std::future::pending().await;
        }
        let report = self.reports.recv().await;
        let outcome = report.map_or_else(
            || {
                Outcome::Broken(Failure::new(
                    Stage::Closed,
                    "connection was ended by a fault of this agent",
                ))
            },
            |report| report.outcome,
        );
        self.over = matches!(outcome, Outcome::Broken(_));
        outcome
    }
}

/// An outcome on its way, holding the room of its shipment until it is read.
#[derive(Debug)]
pub(crate) struct Report {
    outcome: Outcome,
    _room: Option<Room>,
}

/// The transport's end of a connection.
#[derive(Debug)]
pub(crate) struct Line {
    /// What is to be sent.
    pub(crate) accepted: mpsc::Receiver<Accepted>,
    /// Where outcomes go.
    pub(crate) reporter: Reporter,
}

/// Where outcomes go.
#[derive(Debug)]
pub(crate) struct Reporter {
    bytes: Arc<Semaphore>,
    count: Arc<Semaphore>,
    reports: mpsc::Sender<Report>,
}

impl Line {
    /// Both ends.
    pub(crate) fn new(settings: &Settings) -> (Sender, Outcomes, Self) {
        // The window itself, and as much on its way into it.
        let room = u32::try_from(settings.resend_window.saturating_mul(2))
            .unwrap_or(u32::MAX / 8)
            .max(1);
        let bytes = Arc::new(Semaphore::new(room as usize));
        let count = Arc::new(Semaphore::new(MAX_SHIPMENTS));
        let (sender, accepted) = mpsc::channel(MAX_SHIPMENTS);
        // Two for each shipment, and the last one: it is never full.
        let (reports, outcomes) = mpsc::channel(2 * MAX_SHIPMENTS + 1);
        let sender = Sender {
            bytes: Arc::clone(&bytes),
            count: Arc::clone(&count),
            room,
            accepted: sender,
        };
        let outcomes = Outcomes {
            reports: outcomes,
            over: false,
        };
        let reporter = Reporter { bytes, count, reports };
        (sender, outcomes, Self { accepted, reporter })
    }

    /// Reports the end and takes nothing any more.
    pub(crate) fn end(mut self, failure: Failure) {
        self.accepted.close();
        self.reporter.bytes.close();
        self.reporter.count.close();
        self.reporter.push(Outcome::Broken(failure), None);
    }
}

impl Reporter {
    /// Reports an outcome that another one follows.
    pub(crate) fn report(&self, outcome: Outcome) {
        self.push(outcome, None);
    }

    /// Reports the last outcome of a shipment.
    pub(crate) fn finish(&self, outcome: Outcome, room: Room) {
        self.push(outcome, Some(room));
    }

    /// Resolves when nobody listens any more.
    pub(crate) async fn abandoned(&self) {
        self.reports.closed().await;
    }

    fn push(&self, outcome: Outcome, room: Option<Room>) {
        let report = Report { outcome, _room: room };
        if let Err(mpsc::error::TrySendError::Full(_)) = self.reports.try_send(report) {
            tracing::error!("more outcomes than shipments");
        }
    }
}

/// The end that was asked for: the [`Sender`] is gone and everything is settled.
pub(crate) fn finished() -> Failure {
    Failure::new(
        Stage::Closed,
        "everything was sent, and this agent closed the connection",
    )
}

/// Reaches the drain of `binding`. What runs for the connection runs on `tasks` and ends when [`Outcomes`] is dropped.
///
/// # Errors
/// Why the drain cannot be reached.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn connect(binding: &Binding, settings: &Settings, tasks: &Tasks) -> Result<(Sender, Outcomes), Failure> {
    let dial = || {
        dial(
            &binding.url,
            settings,
            tasks,
            settings.kernel_buffer(binding.url.scheme()),
        )
    };
    match binding.url.scheme() {
        Scheme::Syslog => Ok(plain(binding, settings, tasks, Metered::new(dial().await?))),
        Scheme::SyslogTls => {
            // Before the dial: unusable credentials need no connection.
            let secure = Secure::new(binding, settings)?;
            let stream = Metered::new(dial().await?);
            let stream = secure.handshake(stream, settings).await?;
            Ok(encrypted(binding, settings, tasks, secure, stream))
        }
        Scheme::Https | Scheme::HttpsBatch => http(binding, settings, tasks, None).await,
    }
}

/// Syslog over this connection.
pub(crate) fn plain(binding: &Binding, settings: &Settings, tasks: &Tasks, stream: Metered) -> (Sender, Outcomes) {
    let (sender, outcomes, line) = Line::new(settings);
    let link = tcp::Link::new(&stream, None, &binding.url, settings);
    tasks.spawn("drain connection", tcp::run(stream, link, line));
    (sender, outcomes)
}

/// Syslog over this TLS connection.
pub(crate) fn encrypted(
    binding: &Binding,
    settings: &Settings,
    tasks: &Tasks,
    secure: Secure,
    stream: TlsStream<Metered>,
) -> (Sender, Outcomes) {
    let (sender, outcomes, line) = Line::new(settings);
    let link = tcp::Link::new(stream.get_ref().0, Some(secure), &binding.url, settings);
    tasks.spawn("drain connection", tcp::run(stream, link, line));
    (sender, outcomes)
}

/// HTTP, over this connection first if there is one.
pub(crate) async fn http(
    binding: &Binding,
    settings: &Settings,
    tasks: &Tasks,
    stream: Option<TlsStream<TcpStream>>,
) -> Result<(Sender, Outcomes), Failure> {
    let (sender, outcomes, line) = Line::new(settings);
    let transport = Transport::connect(binding, settings, tasks, stream).await?;
    tasks.spawn("drain connection", transport.run(line));
    Ok((sender, outcomes))
}
