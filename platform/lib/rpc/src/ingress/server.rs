//! The server's side of an ingress link.
//!
//! One stream does all the work of a call. Whenever the transport polls it for an answer, it reads what the client
//! sent, hands it on, and answers with acknowledgements when there are any. It needs no task and no queue. An
//! acknowledgement of envelopes that were dropped is sent when the drops are on file, and the stream is read on
//! meanwhile.

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

/// How long acknowledgements are gathered before they are sent.
const ACKNOWLEDGE_INTERVAL: Duration = Duration::from_millis(10);

/// How long a stream has to be without a message before it is ended on shutdown.
const QUIET_PERIOD: Duration = Duration::from_millis(50);

/// How long after a request for shutdown a stream is ended in any case, however busy it is.
const STOP_DEADLINE: Duration = Duration::from_secs(1);

/// How long the last acknowledgement of a stream waits for the ledger to be written. After that the counts are in
/// memory only, and are written when the component has stopped.
const LEDGER_DEADLINE: Duration = Duration::from_secs(1);

/// The largest number of single envelopes that are handed on as one batch, if they have arrived together.
const GATHER: usize = 100;

/// The three methods of the ingress service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `Sender`: a stream of single envelopes.
    Sender,
    /// `BatchSender`: a stream of batches.
    BatchSender,
    /// `Send`: one batch.
    Send,
}

impl Method {
    /// Returns the method with this name.
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

/// The function that takes the envelopes that have come in.
pub(super) type Sink = Arc<dyn Fn(Parcel) + Send + Sync>;

/// Serves the calls of an ingress service, and hands the envelopes to a sink.
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
    /// A server that hands envelopes to `sink`, counts in `ledger`, and ends its streams when `shutdown` is requested.
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
            // A client of the original expects one answer at the end of the stream: for it there is nothing to track.
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

    /// Serves a `Sender` call: gathers its envelopes into batches, and answers once at the end.
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

    /// Splits one batch message into envelopes and hands them on.
    fn take(&self, message: Bytes, receipt: Option<weir_flow::Receipt>) {
        let Split {
            batch,
            rejected,
            broken,
            ..
        } = Batch::split(message);
        let refused = rejected.len() as u64 + u64::from(broken.is_some());
        // Refused envelopes were received, too. They are counted as dropped below, so that the ledger adds up.
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

    /// Counts malformed envelopes.
    fn refuse(&self, source_id: &str, count: u64) {
        self.ledger.dropped("ingress", Reason::Malformed, source_id, count);
    }
}

/// One `BatchSender` call.
struct Session {
    server: IngressServer,
    messages: Messages,
    tracker: Option<Arc<Tracker>>,
    /// The number of messages that were read so far.
    received: u64,
    /// The progress that the client was told last.
    acknowledged: Progress,
    acknowledge_at: Option<Instant>,
    /// Progress that may be acknowledged once the ledger is written up to the mark.
    unwritten: Option<(Progress, Mark)>,
    last_message: Instant,
    stop_by: Option<Instant>,
    ended: bool,
}

impl Session {
    /// Reads messages until there is an answer to send. Returns `None` after the last answer.
    async fn next(&mut self) -> Option<Result<Frame, Status>> {
        loop {
            if self.ended {
                return None;
            }
            // A time for timers that are not set: their branches are disabled below, but their futures are made
            // nevertheless.
            let far = Instant::now() + Duration::from_secs(3600);
            let tracker = self.tracker.clone();
            let changed = async {
                match tracker {
                    // While an acknowledgement is due, or waits for the ledger, further progress will be a part of it.
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
                    // A message that is too large, compressed or cut off. The client gets the status.
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
                    self.stop_by = Some(Instant::now() + STOP_DEADLINE);
                }
                () = tokio::time::sleep_until(self.stop_by.map_or(far, |by| by.min(self.last_message + QUIET_PERIOD))),
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

    /// Makes the last answer of the stream.
    async fn finish(&mut self) -> Option<Result<Frame, Status>> {
        self.ended = true;
        let Some(tracker) = &self.tracker else {
            return Some(Ok(Frame::default()));
        };
        let progress = tracker.progress();
        let ledger = &self.server.ledger;
        if let Some(mark) = ledger.unwritten()
            && tokio::time::timeout(LEDGER_DEADLINE, ledger.written(mark))
                .await
                .is_err()
        {
            tracing::error!("a stream was ended before the drops behind it were on file");
        }
        Some(self.acknowledge(progress, Some(self.received)))
    }

    /// Returns an acknowledgement, if there is progress that may be acknowledged at once. Progress that may not is
    /// noted in `unwritten`.
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
