//! The client's side of an ingress link.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};
use weir_error::{Classify, ErrorKind};
use weir_flow::{Ledger, Parcel, Progress, Reason};
use weir_net::{Channel, Frame, Messages};
use weir_service::Tasks;

use crate::ingress::BATCH_SENDER_PATH;
use crate::link::{HELLO_PATH, IngressProgress, LINK_METADATA};

/// How many messages may wait between [`Link::send`] and the transport: just enough to keep the transport busy.
const OUTBOX: usize = 4;

/// Why a link could not be opened.
#[derive(Debug, Error)]
#[error("cannot reach `{address}`: {status}")]
pub struct LinkError {
    address: String,
    status: Box<Status>,
}

impl Classify for LinkError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }

    fn retryable(&self) -> bool {
        true
    }
}

/// A parcel that was not sent because the link has ended.
#[derive(Debug)]
pub struct Unsent(pub Parcel);

/// A number of envelopes with their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// The number of envelopes.
    pub envelopes: u64,
    /// The number of bytes of the encoded envelopes.
    pub bytes: u64,
}

/// The parcels and losses that a link leaves when it has ended.
#[derive(Debug)]
pub struct Ended {
    /// The parcels that the server has certainly not looked at, oldest first. They can be sent elsewhere.
    pub unsent: Vec<Parcel>,
    /// The number of envelopes that were in flight. They are counted as lost, though some may have arrived.
    pub lost: u64,
    /// How the stream ended.
    pub status: Status,
}

/// One open stream to an agent or a doppler.
///
/// Dropping it ends the stream, and parcels that are not acknowledged count as lost then. [`Link::finish`] ends the
/// stream and waits for the acknowledgements.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
    messages: Mutex<Option<mpsc::Sender<Frame>>>,
    /// Locked across the two steps of a send, so that messages are sent in the order of their numbers.
    sending: tokio::sync::Mutex<()>,
    acknowledged: bool,
}

/// The state that a link shares with the task that reads its acknowledgements.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a message was acknowledged or the link has ended.
    changed: Notify,
    ledger: Arc<Ledger>,
    hop: &'static str,
    acknowledged: bool,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last message that was sent.
    sent: u64,
    /// The number of the last message that the transport has taken.
    yielded: u64,
    in_flight: VecDeque<InFlight>,
    envelopes_in_flight: u64,
    progress: Progress,
    ended: Option<Ended>,
    /// Whether the link has ended. It stays true when `ended` was taken.
    is_over: bool,
}

/// A message that was sent and is not settled yet.
#[derive(Debug)]
struct InFlight {
    sequence: u64,
    taken: bool,
    parcel: Parcel,
}

impl Link {
    /// Opens a link that counts what it sends and loses in `ledger`, at hop `egress`.
    pub async fn open(channel: &Channel, ledger: Arc<Ledger>, tasks: &Tasks) -> Result<Self, LinkError> {
        Self::open_at("egress", channel, ledger, tasks).await
    }

    /// Opens a link that counts at `hop`, for a component that sends at several hops; see [`Link::open`].
    pub async fn open_at(
        hop: &'static str,
        channel: &Channel,
        ledger: Arc<Ledger>,
        tasks: &Tasks,
    ) -> Result<Self, LinkError> {
        let failed = |status: Status| LinkError {
            address: channel.address().to_owned(),
            status: Box::new(status),
        };
        // The original answers a client stream only when it ends. The call before it shows which kind of server this
        // is.
        let acknowledged = match channel.unary(HELLO_PATH, Bytes::new()).await {
            Ok(_) => true,
            Err(status) if status.code() == Code::Unimplemented => false,
            Err(status) => return Err(failed(status)),
        };
        let (messages, outbox) = mpsc::channel(OUTBOX);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Notify::new(),
            ledger,
            hop,
            acknowledged,
        });
        // The transport takes a message from this stream when it is about to send it. From an original server there is
        // no other sign of progress.
        let yielding = Arc::clone(&shared);
        let mut request = Request::new(ReceiverStream::new(outbox).inspect(move |_| yielding.yielded()));
        request.metadata_mut().insert(LINK_METADATA, 1.into());
        let reading = Arc::clone(&shared);
        if acknowledged {
            let answers = channel.stream(BATCH_SENDER_PATH, request).await.map_err(failed)?;
            tasks.spawn("ingress link", async move {
                let (received, status) = reading.read(answers.into_inner()).await;
                reading.end(received, status);
            });
        } else {
            // The original answers the call only when the stream has ended, so the answer is awaited on the task.
            let channel = channel.clone();
            tasks.spawn("ingress link", async move {
                let (received, status) = match channel.stream(BATCH_SENDER_PATH, request).await {
                    Ok(answers) => reading.read(answers.into_inner()).await,
                    Err(status) => (None, status),
                };
                reading.end(received, status);
            });
        }
        Ok(Self {
            shared,
            messages: Mutex::new(Some(messages)),
            sending: tokio::sync::Mutex::default(),
            acknowledged,
        })
    }

    /// Whether the server acknowledges. The original does not, and a message then counts as handed on as soon as the
    /// transport has taken it.
    #[must_use]
    pub const fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// Sends a parcel, and waits while the transport is busy. Not cancel safe: the parcel of a dropped call may have
    /// been sent.
    pub async fn send(&self, parcel: Parcel) -> Result<(), Unsent> {
        let _order = self.sending.lock().await;
        let Some(messages) = self.messages.lock().clone() else {
            return Err(Unsent(parcel));
        };
        // The place is reserved first, so that a parcel is in flight only if it can be sent.
        let Ok(place) = messages.reserve().await else {
            return Err(Unsent(parcel));
        };
        let frame = Frame::from(parcel.batch.bytes().clone());
        {
            let mut state = self.shared.state.lock();
            if state.is_over {
                return Err(Unsent(parcel));
            }
            state.sent += 1;
            let count = parcel.batch.len() as u64;
            state.envelopes_in_flight += count;
            let sequence = state.sent;
            state.in_flight.push_back(InFlight {
                sequence,
                taken: false,
                parcel,
            });
            self.shared.ledger.in_flight(count.cast_signed());
        }
        place.send(frame);
        Ok(())
    }

    /// The number of envelopes that were sent and are not yet acknowledged as handed on.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.shared.state.lock().envelopes_in_flight
    }

    /// The envelopes that were sent and are not yet acknowledged as taken by the durable consumers.
    #[must_use]
    pub fn untaken(&self) -> Volume {
        let state = self.shared.state.lock();
        let mut untaken = Volume::default();
        // Messages are taken in their order, so the untaken ones are at the end.
        for entry in state.in_flight.iter().rev().take_while(|entry| !entry.taken) {
            untaken.envelopes += entry.parcel.batch.len() as u64;
            untaken.bytes += entry.parcel.batch.byte_len() as u64;
        }
        untaken
    }

    /// How far the server has acknowledged.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.shared.state.lock().progress
    }

    /// Whether the link has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.state.lock().is_over
    }

    /// Waits until a message was acknowledged, or the link has ended, since the last call. Only one caller at a time is
    /// woken. Cancel safe.
    pub async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Waits for the end of the link and returns what it leaves. Later calls return nothing unsent and nothing lost.
    pub async fn ended(&self) -> Ended {
        loop {
            {
                let mut state = self.shared.state.lock();
                if state.is_over {
                    let none = Ended {
                        unsent: Vec::new(),
                        lost: 0,
                        status: Status::ok(""),
                    };
                    return state.ended.take().unwrap_or(none);
                }
            }
            self.changed().await;
        }
    }

    /// Ends the stream from this side, waits for the server's end, and returns what the link leaves.
    pub async fn finish(&self) -> Ended {
        self.messages.lock().take();
        self.ended().await
    }
}

impl Shared {
    /// Notes that the transport has taken a message. Without acknowledgements, the message counts as handed on then.
    fn yielded(&self) {
        let mut state = self.state.lock();
        state.yielded += 1;
        if !self.acknowledged {
            let sequence = state.yielded;
            state.progress = Progress {
                handed_on: sequence,
                taken: sequence,
                lost: 0,
            };
            let settled = self.settle(&mut state, sequence);
            drop(state);
            drop(settled);
            self.changed.notify_one();
        }
    }

    /// Reads acknowledgements to the end of the stream. Returns the last message that the server says to have looked
    /// at, if it does, and the status of the stream.
    async fn read(&self, mut answers: Messages) -> (Option<u64>, Status) {
        let mut received = None;
        loop {
            match answers.message().await {
                Ok(Some(answer)) => {
                    if let Some(answer) = IngressProgress::decode(&answer) {
                        received = answer.received.or(received);
                        self.acknowledge(answer.progress);
                    }
                }
                Ok(None) => return (received, Status::ok("")),
                Err(status) => return (received, status),
            }
        }
    }

    /// Marks messages as taken and settles those that were handed on, up to the numbers in `progress`.
    fn acknowledge(&self, progress: Progress) {
        let mut state = self.state.lock();
        let newly_lost = progress.lost.saturating_sub(state.progress.lost);
        state.progress = progress;
        let mut noted = newly_lost == 0;
        for entry in state
            .in_flight
            .iter_mut()
            .filter(|entry| !entry.taken && entry.sequence <= progress.taken)
        {
            entry.taken = true;
            if !noted {
                // Only the number of lost envelopes is known, not in which message they were. The first message that is
                // taken now carries the number upstream.
                noted = true;
                entry.parcel.note_lost(newly_lost);
            }
            for receipt in &mut entry.parcel.receipts {
                receipt.release_taken();
            }
        }
        let settled = self.settle(&mut state, progress.handed_on);
        drop(state);
        drop(settled);
        self.changed.notify_one();
    }

    /// Removes the messages up to `sequence`, which were handed on, from those in flight. The caller drops them outside
    /// of the lock, because dropping a receipt can do more work upstream.
    fn settle(&self, state: &mut State, sequence: u64) -> Vec<InFlight> {
        let settled = state
            .in_flight
            .iter()
            .take_while(|entry| entry.sequence <= sequence)
            .count();
        let settled: Vec<InFlight> = state.in_flight.drain(..settled).collect();
        let envelopes: u64 = settled.iter().map(|entry| entry.parcel.batch.len() as u64).sum();
        state.envelopes_in_flight -= envelopes;
        self.ledger.in_flight(-envelopes.cast_signed());
        self.ledger.sent(envelopes);
        settled
    }

    /// Ends the link. Messages up to `received`, which the server says to have looked at, are settled. Messages that it
    /// has certainly not looked at can be sent elsewhere. All others count as lost.
    fn end(&self, received: Option<u64>, status: Status) {
        let mut state = self.state.lock();
        let settled = self.settle(&mut state, received.unwrap_or(0));
        // Without an answer of the server, every message that the transport has taken may have arrived.
        let sent_to = received.unwrap_or(state.yielded);
        let (mut unsent, mut lost) = (Vec::new(), 0);
        let envelopes = state.envelopes_in_flight;
        for entry in std::mem::take(&mut state.in_flight) {
            if entry.sequence > sent_to {
                unsent.push(entry.parcel);
            } else {
                lost += entry.parcel.batch.len() as u64;
                self.ledger.lost(self.hop, Reason::PeerLost, &entry.parcel.lose());
            }
        }
        state.envelopes_in_flight = 0;
        self.ledger.in_flight(-envelopes.cast_signed());
        state.ended = Some(Ended { unsent, lost, status });
        state.is_over = true;
        drop(state);
        drop(settled);
        self.changed.notify_one();
    }
}
