//! From the buffer to the peers.
//!
//! One task hands out: it takes parcels from the queue, packs them into messages ([`pack`]), and gives each to one of the
//! open links ([`lane`]). Of two lanes picked at random the one with less in flight gets it; a lane whose transport is
//! busy, and a peer that is away, get nothing. While there is no lane at all the queue keeps what it can. One more
//! task for each peer opens its link, again and again ([`super::connector`]).
//!
//! A parcel is here, on a link, or accounted for: what a link that ended had not sent comes back and goes to another
//! peer; what was under way with a peer that vanished is counted by the link.

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

/// A message is sent at once if this much waits.
const BATCH_ENVELOPES: usize = 100;
const BATCH_BYTES: usize = 64 << 10;

/// A trickle is gathered for this long: so many small messages a second at most.
const GATHER: Duration = Duration::from_millis(5);

/// What the connectors tell the task that hands out.
#[derive(Debug)]
pub(super) enum News {
    Up(Lane),
    /// Link `id` has ended; these it had not sent.
    Down {
        id: u64,
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
    news: mpsc::Receiver<News>,
    lanes: Vec<Lane>,
    /// Packed, and not yet on a link; ahead of the queue.
    waiting: VecDeque<Parcel>,
    /// Sends that wait for their transport, at most one for each lane.
    sends: FuturesUnordered<BoxFuture<'static, (u64, Result<(), Unsent>)>>,
    last_sent: Option<Instant>,
    /// Since when there has been no lane.
    alone_since: Option<Instant>,
}

impl Egress {
    /// Starts a connector for each target; they stop when `links` says so, which must be after [`Egress::run`].
    pub(super) fn new(
        queue: Arc<FairQueue>,
        shared: Arc<Shared>,
        terms: Terms,
        targets: &[Target],
        context: &LogContext,
        links: &Shutdown,
    ) -> Self {
        let (tell, news) = mpsc::channel(targets.len().max(1));
        for target in targets {
            let connector = Connector::new(target, terms, context, links.clone(), tell.clone());
            context.tasks.spawn("egress connection", connector.run());
        }
        Self {
            queue,
            shared,
            terms,
            ledger: Arc::clone(&context.ledger),
            news,
            lanes: Vec::new(),
            waiting: VecDeque::new(),
            sends: FuturesUnordered::new(),
            last_sent: None,
            alone_since: Some(Instant::now()),
        }
    }

    /// Hands out until the queue is closed and everything is on a link.
    pub(super) async fn run(&mut self) {
        loop {
            let wake_at = self.hand_out();
            let give_up_at = self.give_up_at();
            if self.waiting.is_empty() && self.sends.is_empty() && self.queue.is_closed() && self.queue.is_empty() {
                return;
            }
            let idle = self.lanes.iter().any(Lane::is_idle);
            tokio::select! {
                Some(news) = self.news.recv() => self.on(news),
                Some((id, result)) = self.sends.next(), if !self.sends.is_empty() => self.sent(id, result),
                () = self.queue.filled(), if idle && wake_at.is_none() => {}
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => {}
                () = sleep_until(give_up_at.unwrap_or_else(Instant::now)), if give_up_at.is_some() => self.give_up(),
            }
        }
    }

    /// Waits until every link has ended, at most until `deadline`; then counts whatever is left anywhere.
    pub(super) async fn finish(mut self, deadline: Instant) {
        while !self.lanes.is_empty() {
            match timeout_at(deadline, self.news.recv()).await {
                Ok(Some(news)) => self.on(news),
                Ok(None) | Err(_) => break,
            }
        }
        self.ledger
            .lost(self.terms.link_hop, Reason::ShuttingDown, &self.queue.abandon());
        // A send that still waits for its transport gives its parcel back when its link is gone.
        let given_back = std::mem::take(&mut self.sends).filter_map(async |(_, result)| result.err());
        let given_back = tokio::time::timeout(Duration::from_millis(100), given_back.collect::<Vec<_>>()).await;
        for Unsent(parcel) in given_back.unwrap_or_default() {
            self.waiting.push_back(parcel);
        }
        for parcel in &self.waiting {
            self.ledger
                .lost(self.terms.link_hop, Reason::ShuttingDown, &parcel.lose());
        }
    }

    /// Gives to idle lanes what there is to give. If that is left to gather, says until when.
    fn hand_out(&mut self) -> Option<Instant> {
        while let Some(lane) = lane::choose(&self.lanes) {
            if self.waiting.is_empty() {
                if let Some(gather_until) = self.gathering() {
                    return Some(gather_until);
                }
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

    /// Until when to wait for more, if what is in the queue is not a message's worth.
    fn gathering(&self) -> Option<Instant> {
        let until = self.last_sent? + GATHER;
        let trickle = self.queue.len() < BATCH_ENVELOPES
            && self.queue.byte_len() < BATCH_BYTES
            && !self.queue.is_empty()
            && !self.queue.is_closed();
        (trickle && Instant::now() < until).then_some(until)
    }

    fn start(&mut self, index: usize, parcel: Parcel) {
        self.last_sent = Some(Instant::now());
        let lane = &mut self.lanes[index];
        let id = lane.id();
        let mut send = lane.send(parcel).map(move |result| (id, result)).boxed();
        // Mostly the transport takes it at once.
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

    fn on(&mut self, news: News) {
        match news {
            News::Up(lane) => self.lanes.push(lane),
            News::Down { id, unsent } => {
                self.lanes.retain(|lane| lane.id() != id);
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

    /// When producers need no longer wait for what is here; `None` while somebody is connected, or once it was said.
    fn give_up_at(&self) -> Option<Instant> {
        let at = self.alone_since? + self.terms.patience?;
        (!self.shared.given_up.load(Ordering::Relaxed)).then_some(at)
    }

    fn give_up(&mut self) {
        self.shared.given_up.store(true, Ordering::Release);
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
