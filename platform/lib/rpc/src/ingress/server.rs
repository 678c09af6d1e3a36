//! The server's end of an ingress link.
//!
//! One stream does everything for one call: whenever the transport polls it for an answer, it reads what the client sent,
//! hands it on, and answers with acknowledgements when there are any. No task and no queue stands in between. Where drops
//! lie behind an acknowledgement, it leaves when they are on file; the stream is read on meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::time::Instant;
use tonic::{Request, Response, Status};
use weir_envelope::batch::{Batch, BatchBuilder, Split};
use weir_flow::{Ledger, Mark, Parcel, Progress, Reason, Tracker};
use weir_net::{Frame, FrameStream, Messages, one_frame, only_message};
use weir_service::Shutdown;

use crate::link::{IngressProgress, LINK_METADATA};

/// Acknowledgements are gathered for this long.
const ACKNOWLEDGE_INTERVAL: Duration = Duration::from_millis(10);

/// On shutdown, a stream on which nothing came for this long is ended.
const QUIET: Duration = Duration::from_millis(50);

/// On shutdown, a stream is ended after this time, however busy it is.
const BUSY: Duration = Duration::from_secs(1);

/// The last acknowledgement of a stream waits so long for a ledger that cannot be written. The counts are in memory then,
/// and written when the component has stopped.
const LAST_WRITE: Duration = Duration::from_secs(1);

/// Single envelopes that came together are handed on together, up to this number.
const GATHER: usize = 100;

/// The three methods of the ingress service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A stream of envelopes.
    Sender,
    /// A stream of batches.
    BatchSender,
    /// One batch.
    Send,
}

impl Method {
    /// The method of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "Sender" => Some(Self::Sender),
            "BatchSender" => Some(Self::BatchSender),
            "Send" => Some(Self::Send),
            _ => None,
        }
    }
}

/// Where envelopes that came in go.
pub(super) type Sink = Arc<dyn Fn(Parcel) + Send + Sync>;

/// Serves the calls of an ingress service; hands what comes in to a sink.
#[derive(Clone)]
pub struct IngressServer {
    sink: Sink,
    ledger: Arc<Ledger>,
    shutdown: Shutdown,
}

impl std::fmt::Debug for IngressServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IngressServer")
            .field("ledger", &self.ledger.component())
            .finish_non_exhaustive()
    }
}

impl IngressServer {
    /// A server that counts in `ledger`, and ends its streams when `shutdown` is requested.
    #[must_use]
    pub fn new(sink: impl Fn(Parcel) + Send + Sync + 'static, ledger: Arc<Ledger>, shutdown: Shutdown) -> Self {
        Self {
            sink: Arc::new(sink),
            ledger,
            shutdown,
        }
    }

    /// Serves one call of `method`.
    pub async fn serve(&self, method: Method, request: Request<Messages>) -> Result<Response<FrameStream>, Status> {
        let tracker = match method {
            Method::Send => {
                let message = only_message(request).await?;
                self.take(message, None);
                return Ok(one_frame(Frame::default()));
            }
            Method::Sender => return Ok(Response::new(self.envelopes(request.into_inner()))),
            Method::BatchSender if request.metadata().contains_key(LINK_METADATA) => Some(Tracker::new()),
            Method::BatchSender => None,
        };
        let linked = tracker.is_some();
        let session = Session {
            server: self.clone(),
            messages: request.into_inner(),
            tracker,
            received: 0,
            acknowledged: Progress::default(),
            acknowledge_at: None,
            unwritten: None,
            last_message: Instant::now(),
            stop_by: None,
            ended: false,
        };
        let answers = futures::stream::unfold(session, |mut session| async move {
            session.next().await.map(|answer| (answer, session))
        });
        let mut response = Response::new(answers.boxed());
        if linked {
            response.metadata_mut().insert(LINK_METADATA, 1.into());
        }
        Ok(response)
    }

    /// A `Sender` call: its envelopes, gathered; one answer at the end.
    fn envelopes(&self, messages: Messages) -> FrameStream {
        let server = self.clone();
        let shutdown = self.shutdown.clone().requested_owned();
        let mut messages = messages.take_until(Box::pin(shutdown)).ready_chunks(GATHER);
        futures::stream::once(async move {
            while let Some(chunk) = messages.next().await {
                let mut builder = BatchBuilder::new();
                for message in chunk {
                    let message = message?;
                    server.ledger.received(1);
                    if let Err(error) = builder.try_push(&message) {
                        server.refuse(&error.source_id, 1);
                    }
                }
                if !builder.is_empty() {
                    (server.sink)(Parcel::unacknowledged(builder.finish()));
                }
            }
            Ok(Frame::default())
        })
        .boxed()
    }

    /// Takes one batch message apart and hands it on.
    fn take(&self, message: Bytes, receipt: Option<weir_flow::Receipt>) {
        let Split {
            batch,
            rejected,
            broken,
            ..
        } = Batch::split(message);
        let refused = rejected.len() as u64 + u64::from(broken.is_some());
        self.ledger.received(batch.len() as u64 + refused);
        if refused > 0 {
            if let Some(receipt) = &receipt {
                receipt.note_lost(refused);
            }
            for rejected in &rejected {
                self.refuse(&rejected.source_id, 1);
            }
            if let Some(error) = broken {
                tracing::debug!(%error, "the rest of a batch cannot be read");
                self.refuse("", 1);
            }
        }
        if !batch.is_empty() {
            (self.sink)(Parcel {
                batch,
                receipts: receipt.into_iter().collect(),
            });
        }
    }

    fn refuse(&self, source_id: &str, count: u64) {
        self.ledger.dropped("ingress", Reason::Malformed, source_id, count);
    }
}

/// One `BatchSender` call.
struct Session {
    server: IngressServer,
    messages: Messages,
    tracker: Option<Arc<Tracker>>,
    /// Number of messages so far.
    received: u64,
    acknowledged: Progress,
    acknowledge_at: Option<Instant>,
    /// Progress that may be told once the ledger is written up to the mark.
    unwritten: Option<(Progress, Mark)>,
    last_message: Instant,
    stop_by: Option<Instant>,
    ended: bool,
}

impl Session {
    async fn next(&mut self) -> Option<Result<Frame, Status>> {
        loop {
            if self.ended {
                return None;
            }
            let far = Instant::now() + Duration::from_secs(3600);
            let tracker = self.tracker.clone();
            let changed = async {
                match tracker {
                    Some(tracker) if self.acknowledge_at.is_none() && self.unwritten.is_none() => {
                        tracker.changed().await
                    }
                    _ => std::future::pending().await,
                }
            };
            let written = async {
                match self.unwritten {
                    Some((progress, mark)) => {
                        self.server.ledger.written(mark).await;
                        progress
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = self.messages.message() => match message {
                    Ok(Some(message)) => self.take(message),
                    Ok(None) => return self.finish().await,
                    // A message that is too large, compressed or cut off: the client is told which.
                    Err(status) => {
                        self.ended = true;
                        return Some(Err(status));
                    }
                },
                () = changed => self.acknowledge_at = Some(Instant::now() + ACKNOWLEDGE_INTERVAL),
                () = tokio::time::sleep_until(self.acknowledge_at.unwrap_or(far)), if self.acknowledge_at.is_some() => {
                    self.acknowledge_at = None;
                    if let Some(answer) = self.progressed() {
                        return Some(answer);
                    }
                }
                progress = written => {
                    self.unwritten = None;
                    return Some(self.acknowledge(progress, None));
                }
                () = self.server.shutdown.requested(), if self.stop_by.is_none() => {
                    self.stop_by = Some(Instant::now() + BUSY);
                }
                () = tokio::time::sleep_until(self.stop_by.map_or(far, |by| by.min(self.last_message + QUIET))),
                    if self.stop_by.is_some() => return self.finish().await,
            }
        }
    }

    fn take(&mut self, message: Bytes) {
        self.received += 1;
        self.last_message = Instant::now();
        let receipt = self.tracker.as_ref().map(|tracker| tracker.receipt(self.received));
        self.server.take(message, receipt);
    }

    /// The last answer.
    async fn finish(&mut self) -> Option<Result<Frame, Status>> {
        self.ended = true;
        let Some(tracker) = &self.tracker else {
            return Some(Ok(Frame::default()));
        };
        let progress = tracker.progress();
        let ledger = &self.server.ledger;
        if let Some(mark) = ledger.unwritten()
            && tokio::time::timeout(LAST_WRITE, ledger.written(mark)).await.is_err()
        {
            tracing::error!("a stream was ended before the drops behind it were on file");
        }
        Some(self.acknowledge(progress, Some(self.received)))
    }

    /// An acknowledgement of what is new, if it may leave at once; one that may not is noted in `unwritten`.
    fn progressed(&mut self) -> Option<Result<Frame, Status>> {
        let progress = self.tracker.as_ref()?.progress();
        if progress == self.acknowledged {
            return None;
        }
        match self.server.ledger.unwritten() {
            None => Some(self.acknowledge(progress, None)),
            Some(mark) => {
                self.unwritten = Some((progress, mark));
                None
            }
        }
    }

    fn acknowledge(&mut self, progress: Progress, received: Option<u64>) -> Result<Frame, Status> {
        self.acknowledged = progress;
        Ok(IngressProgress { progress, received }.encode().into())
    }
}
