//! A connection to a drain over any transport: shipments go in, and their outcomes come out.
//!
//! ```text
//! Sender::send ─▶ window (bytes, count) ─▶ a task: writes, watches the read side, waits ─▶ Outcomes::next
//! ```
//!
//! A shipment takes room in the window when it is sent, and frees it when its last outcome is *read*. So
//! [`Sender::send`] and [`Outcomes::next`] must be polled concurrently, as `select!` does.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::client::TlsStream;
use weir_service::Tasks;

use crate::arrived::MeteredStream;
use crate::dial::dial;
use crate::http::Transport;
use crate::secure::Secure;
use crate::{Binding, Failure, Scheme, Settings, Stage, tcp};

/// The greatest number of unsettled shipments on one connection.
const MAX_SHIPMENTS: usize = 1024;

/// Messages that are sent together, framed as the drain's scheme requires.
#[derive(Clone)]
pub struct Shipment {
    /// The number of the shipment on its connection, counted from one.
    pub sequence: u64,
    /// The messages: octet-counted for `syslog` and `syslog-tls`, and else each with a newline at its end.
    pub bytes: Bytes,
    /// The offset of each message's end in `bytes`.
    pub ends: Arc<[u32]>,
    /// The time at which the oldest message arrived, in nanoseconds since the Unix epoch. It distinguishes shipments of
    /// equal contents, and does not change when a shipment is sent again.
    pub arrived: i64,
}

impl fmt::Debug for Shipment {
    /// Shows sizes only, and not the text of the messages.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shipment")
            .field("sequence", &self.sequence)
            .field("bytes", &self.bytes.len())
            .field("messages", &self.ends.len())
            .finish()
    }
}

/// The outcome of a shipment, or the end of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A TCP or TLS shipment was written to the socket. [`Outcome::Settled`] follows, unless the connection breaks.
    Written(u64),
    /// The shipment need never be sent again: an HTTP drain accepted it, or it left the resend window of a TCP or TLS
    /// drain.
    Settled(u64),
    /// The drain refused messages of the shipment and will never accept them. Other shipments are not affected, unless
    /// [`drain_wide`](Failure::drain_wide) is set.
    Rejected {
        /// The number of the shipment.
        sequence: u64,
        /// The refused messages with the reasons; at least one. The drain accepted the other messages.
        refused: Vec<Refused>,
    },
    /// The connection has ended, and no outcome follows. Shipments that were neither settled nor rejected have to be
    /// sent again over another connection. It also comes, with [`Stage::Closed`], when the [`Sender`] was dropped and
    /// everything is settled.
    Broken(Failure),
}

/// Messages of a shipment that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The positions of the messages in the shipment, counted from zero.
    pub messages: Range<u32>,
    /// The reason.
    pub failure: Failure,
}

/// The error for a connection that has ended. [`Outcomes`] reports the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("connection to the drain has ended")]
pub struct Closed;

/// A shipment with its room in the window.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) shipment: Shipment,
    pub(crate) room: WindowPermit,
}

/// Room in the window, which is freed when this is dropped.
#[derive(Debug)]
pub(crate) struct WindowPermit {
    _bytes: OwnedSemaphorePermit,
    _count: OwnedSemaphorePermit,
}

/// The sending half of a connection. When it is dropped, the shipments that it accepted are still sent and settled.
#[derive(Debug)]
pub struct Sender {
    bytes: Arc<Semaphore>,
    count: Arc<Semaphore>,
    /// The size of the window, in bytes.
    room: u32,
    accepted: mpsc::Sender<Accepted>,
}

impl Sender {
    /// Sends a shipment, and waits while the window is full. A shipment larger than the window waits until the window
    /// is empty.
    ///
    /// Cancel safe: the shipment is accepted when the future completes, and not before.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn send(&mut self, shipment: Shipment) -> Result<(), Closed> {
        let size = u32::try_from(shipment.bytes.len()).unwrap_or(u32::MAX).min(self.room);
        // The count first: a shipment that waits for bytes then holds a single permit. Everything that can wait comes
        // before `slot.send`, which makes this cancel safe.
        let count = Arc::clone(&self.count).acquire_owned().await.map_err(|_| Closed)?;
        let bytes = Arc::clone(&self.bytes)
            .acquire_many_owned(size)
            .await
            .map_err(|_| Closed)?;
        let slot = self.accepted.reserve().await.map_err(|_| Closed)?;
        slot.send(Accepted {
            shipment,
            room: WindowPermit {
                _bytes: bytes,
                _count: count,
            },
        });
        Ok(())
    }
}

/// The receiving half of a connection, which reports the outcomes. When it is dropped, the connection ends at once.
#[derive(Debug)]
pub struct Outcomes {
    reports: mpsc::Receiver<Report>,
    over: bool,
}

impl Outcomes {
    /// Returns the next outcome, in the order in which they happened. Cancel safe. After [`Outcome::Broken`] it never
    /// completes.
    pub async fn next(&mut self) -> Outcome {
        if self.over {
            return std::future::pending().await;
        }
        // The channel ends without a report only if the task of the connection panicked or was aborted.
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

/// An outcome that holds the room of its shipment until it is read.
#[derive(Debug)]
pub(crate) struct Report {
    outcome: Outcome,
    _room: Option<WindowPermit>,
}

/// The transport's side of a connection.
#[derive(Debug)]
pub(crate) struct TransportEnd {
    /// The shipments that are to be sent.
    pub(crate) accepted: mpsc::Receiver<Accepted>,
    /// Reports their outcomes.
    pub(crate) reporter: Reporter,
}

/// Reports outcomes to [`Outcomes`].
#[derive(Debug)]
pub(crate) struct Reporter {
    bytes: Arc<Semaphore>,
    count: Arc<Semaphore>,
    reports: mpsc::Sender<Report>,
}

impl TransportEnd {
    /// Returns both sides of a new connection.
    pub(crate) fn new(settings: &Settings) -> (Sender, Outcomes, Self) {
        // As much as the resend window again may be queued or being written.
        let room = u32::try_from(settings.resend_window.saturating_mul(2))
            .unwrap_or(u32::MAX / 8)
            .max(1);
        let bytes = Arc::new(Semaphore::new(room as usize));
        let count = Arc::new(Semaphore::new(MAX_SHIPMENTS));
        let (sender, accepted) = mpsc::channel(MAX_SHIPMENTS);
        // A shipment has at most two outcomes, and one more ends the connection: the channel is never full.
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

    /// Reports the end of the connection, and accepts no further shipment.
    pub(crate) fn close(mut self, failure: Failure) {
        // Closing the semaphores wakes a `send` that waits for room, which then fails.
        self.accepted.close();
        self.reporter.bytes.close();
        self.reporter.count.close();
        self.reporter.push(Outcome::Broken(failure), None);
    }
}

impl Reporter {
    /// Reports an outcome that is not the last one of its shipment.
    pub(crate) fn report(&self, outcome: Outcome) {
        self.push(outcome, None);
    }

    /// Reports the last outcome of a shipment, and frees its room when that is read.
    pub(crate) fn finish(&self, outcome: Outcome, room: WindowPermit) {
        self.push(outcome, Some(room));
    }

    /// Completes when the outcomes have been dropped.
    pub(crate) async fn abandoned(&self) {
        self.reports.closed().await;
    }

    fn push(&self, outcome: Outcome, room: Option<WindowPermit>) {
        let report = Report { outcome, _room: room };
        if let Err(mpsc::error::TrySendError::Full(_)) = self.reports.try_send(report) {
            tracing::error!("more outcomes than shipments");
        }
    }
}

/// Returns the end of a connection whose [`Sender`] was dropped and whose shipments are all settled.
pub(crate) fn finished() -> Failure {
    Failure::new(
        Stage::Closed,
        "everything was sent, and this agent closed the connection",
    )
}

/// Connects to the drain of `binding`. The tasks of the connection are spawned on `tasks`, and end when [`Outcomes`] is
/// dropped.
///
/// # Errors
/// If the drain cannot be reached, or the credentials of the binding cannot be used.
///
/// # Panics
/// If it is called outside a tokio runtime.
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
        Scheme::Syslog => Ok(plain(binding, settings, tasks, MeteredStream::new(dial().await?))),
        Scheme::SyslogTls => {
            // First, because unusable credentials are a failure without any connection.
            let secure = Secure::new(binding, settings)?;
            let stream = MeteredStream::new(dial().await?);
            let stream = secure.handshake(stream, settings).await?;
            Ok(encrypted(binding, settings, tasks, secure, stream))
        }
        Scheme::Https | Scheme::HttpsBatch => http(binding, settings, tasks, None).await,
    }
}

/// Starts a plain syslog connection over `stream`.
pub(crate) fn plain(
    binding: &Binding,
    settings: &Settings,
    tasks: &Tasks,
    stream: MeteredStream,
) -> (Sender, Outcomes) {
    let (sender, outcomes, end) = TransportEnd::new(settings);
    let link = tcp::Link::new(&stream, None, &binding.url, settings);
    tasks.spawn("drain connection", tcp::run(stream, link, end));
    (sender, outcomes)
}

/// Starts a syslog connection over the TLS `stream`.
pub(crate) fn encrypted(
    binding: &Binding,
    settings: &Settings,
    tasks: &Tasks,
    secure: Secure,
    stream: TlsStream<MeteredStream>,
) -> (Sender, Outcomes) {
    let (sender, outcomes, end) = TransportEnd::new(settings);
    let link = tcp::Link::new(stream.get_ref().0, Some(secure), &binding.url, settings);
    tasks.spawn("drain connection", tcp::run(stream, link, end));
    (sender, outcomes)
}

/// Starts an HTTP transport, whose first connection is made over `stream` if there is one.
pub(crate) async fn http(
    binding: &Binding,
    settings: &Settings,
    tasks: &Tasks,
    stream: Option<TlsStream<TcpStream>>,
) -> Result<(Sender, Outcomes), Failure> {
    let (sender, outcomes, end) = TransportEnd::new(settings);
    let transport = Transport::connect(binding, settings, tasks, stream).await?;
    tasks.spawn("drain connection", transport.run(end));
    Ok((sender, outcomes))
}
