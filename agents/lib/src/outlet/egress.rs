//! Moves parcels from the buffer to the peers.
//!
//! One task takes parcels from the queue, packs them into messages ([`pack`]), and gives each message to one of the
//! open links ([`lane`]). It picks two idle lanes at random and uses the one with less in flight. A lane whose
//! transport is busy gets nothing, and neither does a peer that is not connected. While there is no lane, the queue
//! keeps what fits. One more task for each peer keeps its link open ([`super::connector`]).
//!
//! At any time a parcel is in this task, on a link, or counted as lost. Parcels that a link had not sent when it ended
//! come back and go to another peer. Parcels that were in flight to a peer that vanished are counted by the link.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};
use weir_flow::{FairQueue, Ledger, LogContext, Parcel, Reason};
use weir_net::Target;
use weir_rpc::ingress::Unsent;
use weir_service::Shutdown;

use super::connector::Connector;
use super::lane::{self, Lane};
use super::{Shared, Terms, pack, release_taken};

/// A message is sent without gathering if the queue holds at least this many envelopes or bytes.
const BATCH_ENVELOPES: usize = 100;
const BATCH_BYTES: usize = 64 << 10;

/// How long a trickle of envelopes is gathered into one message. This bounds the number of small messages per second.
const GATHER: Duration = Duration::from_millis(5);

/// A change of one link, reported by its connector.
#[derive(Debug)]
pub(super) enum LinkEvent {
    /// A link is open and can be used as this lane.
    Opened(Lane),
    /// The link with the lane `id` has ended.
    Ended {
        id: u64,
        /// What the link had accepted and not sent, oldest first.
        unsent: Vec<Parcel>,
    },
}

/// The sending half of an outlet.
#[derive(Debug)]
pub(super) struct Egress {
    queue: Arc<FairQueue>,
    shared: Arc<Shared>,
    terms: Terms,
    ledger: Arc<Ledger>,
    link_events: mpsc::Receiver<LinkEvent>,
    lanes: Vec<Lane>,
    /// Parcels that are packed and not yet on a link. They go before those in the queue.
    waiting: VecDeque<Parcel>,
    /// Sends that wait for their transport, with the ids of their lanes. A lane has at most one.
    sends: FuturesUnordered<BoxFuture<'static, (u64, Result<(), Unsent>)>>,
    last_sent: Option<Instant>,
    /// When the last lane ended, while there is none.
    alone_since: Option<Instant>,
}

impl Egress {
    /// Starts one connector for each of `targets`. The connectors stop when `links` is fired, which must happen after
    /// [`Egress::run`] has returned.
    pub(super) fn new(
        queue: Arc<FairQueue>,
        shared: Arc<Shared>,
        terms: Terms,
        targets: &[Target],
        context: &LogContext,
        links: &Shutdown,
    ) -> Self {
        let (sender, link_events) = mpsc::channel(targets.len().max(1));
        for target in targets {
            let connector = Connector::new(target, terms, context, links.clone(), sender.clone());
            context.tasks.spawn("egress connection", connector.run());
        }
        Self {
            queue,
            shared,
            terms,
            ledger: Arc::clone(&context.ledger),
            link_events,
            lanes: Vec::new(),
            waiting: VecDeque::new(),
            sends: FuturesUnordered::new(),
            last_sent: None,
            alone_since: Some(Instant::now()),
        }
    }

    /// Sends until the queue is closed and every parcel is on a link.
    pub(super) async fn run(&mut self) {
        loop {
            // Before the check for the end, because this moves envelopes from the queue to the lanes.
            let wake_at = self.hand_out();
            let give_up_at = self.give_up_at();
            if self.waiting.is_empty() && self.sends.is_empty() && self.queue.is_closed() && self.queue.is_empty() {
                return;
            }
            let idle = self.lanes.iter().any(Lane::is_idle);
            tokio::select! {
                Some(event) = self.link_events.recv() => self.on(event),
                Some((id, result)) = self.sends.next(), if !self.sends.is_empty() => self.sent(id, result),
                // Without an idle lane, the queue must not be polled: it would be ready at once, and the loop would
                // spin.
                () = self.queue.filled(), if idle && wake_at.is_none() => {}
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
                () = sleep_until(give_up_at.unwrap_or_else(Instant::now)), if give_up_at.is_some() => self.give_up(),
            }
        }
    }

    /// Waits until every link has ended, but not longer than `deadline`, and counts what is left as lost.
    pub(super) async fn finish(mut self, deadline: Instant) {
        // Links that still confirm can return parcels, which are then counted below and not lost silently.
        while !self.lanes.is_empty() {
            match timeout_at(deadline, self.link_events.recv()).await {
                Ok(Some(event)) => self.on(event),
                Ok(None) | Err(_) => break,
            }
        }
        self.ledger
            .lost(self.terms.link_hop, Reason::ShuttingDown, &self.queue.abandon());
        // A send that still waits for its transport returns its parcel once its link is gone.
        let given_back = std::mem::take(&mut self.sends).filter_map(async |(_, result)| result.err());
        // The deadline has passed, so this wait is short. It only lets ended sends return their parcels.
        let given_back = tokio::time::timeout(Duration::from_millis(100), given_back.collect::<Vec<_>>()).await;
        for Unsent(parcel) in given_back.unwrap_or_default() {
            self.waiting.push_back(parcel);
        }
        for parcel in &self.waiting {
            self.ledger
                .lost(self.terms.link_hop, Reason::ShuttingDown, &parcel.lose());
        }
    }

    /// Gives messages to idle lanes while there are both. Returns when to try again if the queue holds too little to
    /// send now.
    fn hand_out(&mut self) -> Option<Instant> {
        while let Some(lane) = lane::choose(&self.lanes) {
            if self.waiting.is_empty() {
                if let Some(gather_until) = self.gathering() {
                    return Some(gather_until);
                }
                // Only while a lane is idle. What stays in the queue is still divided fairly among sources, and parcels
                // outside of it are not.
                match self.queue.try_pop(pack::MAX_ENVELOPES, pack::MAX_BYTES) {
                    Some(parcels) => pack::pack(parcels, self.terms.link_hop, &self.ledger, &mut self.waiting),
                    None => return None,
                }
            }
            if let Some(parcel) = self.waiting.pop_front() {
                self.start(lane, parcel);
            }
        }
        None
    }

    /// Returns until when to wait for more envelopes, if the queue holds less than one message should.
    fn gathering(&self) -> Option<Instant> {
        let until = self.last_sent? + GATHER;
        let trickle = self.queue.len() < BATCH_ENVELOPES
            && self.queue.byte_len() < BATCH_BYTES
            // An empty queue has nothing to gather, and a closed one gets nothing more to gather with.
            && !self.queue.is_empty()
            && !self.queue.is_closed();
        (trickle && Instant::now() < until).then_some(until)
    }

    fn start(&mut self, index: usize, parcel: Parcel) {
        self.last_sent = Some(Instant::now());
        let lane = &mut self.lanes[index];
        let id = lane.id();
        let mut send = lane.send(parcel).map(move |result| (id, result)).boxed();
        // The transport usually accepts a message at once, so most sends need no place among the waiting ones.
        match (&mut send).now_or_never() {
            Some((id, result)) => self.sent(id, result),
            None => self.sends.push(send),
        }
    }

    fn sent(&mut self, id: u64, result: Result<(), Unsent>) {
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.id() == id) {
            lane.is_sent(result.is_ok());
        }
        if let Err(Unsent(parcel)) = result {
            self.waiting.push_back(parcel);
        }
    }

    fn on(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Opened(lane) => self.lanes.push(lane),
            LinkEvent::Ended { id, unsent } => {
                self.lanes.retain(|lane| lane.id() != id);
                // In front of newer parcels and in their own order, so that the order is kept as far as possible.
                for parcel in unsent.into_iter().rev() {
                    self.waiting.push_front(parcel);
                }
            }
        }
        self.shared.connected.store(self.lanes.len(), Ordering::Relaxed);
        if self.lanes.is_empty() {
            self.alone_since.get_or_insert_with(Instant::now);
        } else {
            self.alone_since = None;
            self.shared.given_up.store(false, Ordering::Release);
        }
    }

    /// Returns when producers stop waiting for what is buffered. `None` while a peer is connected or once this has happened.
    fn give_up_at(&self) -> Option<Instant> {
        let at = self.alone_since? + self.terms.patience?;
        // The buffer reads this flag for each push, and releases new receipts itself while it is set.
        (!self.shared.given_up.load(Ordering::Relaxed)).then_some(at)
    }

    fn give_up(&mut self) {
        self.shared.given_up.store(true, Ordering::Release);
        // Otherwise, producers that wait until every agent has their envelopes would wait for an agent that may never
        // return.
        self.queue.release_taken();
        self.waiting.iter_mut().for_each(release_taken);
        tracing::warn!(
            peer = self.terms.peer,
            hop = self.terms.link_hop,
            waiting = self.queue.len(),
            "nobody is connected, producers are not kept waiting for it any longer"
        );
    }
}
