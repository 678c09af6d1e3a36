//! Opens the link to one peer, again and again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use weir_flow::{Ledger, LogContext};
use weir_net::{Backoff, Channel, Target};
use weir_rpc::ingress::{Ended, Link};
use weir_service::{Shutdown, Tasks};

use super::Terms;
use super::egress::News;
use super::lane::Lane;

/// A link that lived for so long was a good one: the next attempt begins with the shortest delay.
const STABLE: Duration = Duration::from_secs(1);

/// How long a peer may take to confirm what it received on a link that is ended in order.
const CONFIRM: Duration = Duration::from_secs(5);

pub(super) struct Connector {
    channel: Channel,
    terms: Terms,
    ledger: Arc<Ledger>,
    tasks: Tasks,
    links: Shutdown,
    tell: mpsc::Sender<News>,
}

impl Connector {
    pub(super) fn new(
        target: &Target,
        terms: Terms,
        context: &LogContext,
        links: Shutdown,
        tell: mpsc::Sender<News>,
    ) -> Self {
        Self {
            channel: Channel::new(target),
            terms,
            ledger: Arc::clone(&context.ledger),
            tasks: context.tasks.clone(),
            links,
            tell,
        }
    }

    /// Keeps a link open until `links` is requested; then ends it in order.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::between_parts();
        let mut was_up = true;
        while !self.links.is_requested() {
            let hop = self.terms.link_hop;
            let opening = Link::open_at(hop, &self.channel, Arc::clone(&self.ledger), &self.tasks);
            match self.links.unless_requested(opening).await {
                None => return,
                Some(Ok(link)) => {
                    tracing::info!(
                        peer = self.terms.peer,
                        address = self.channel.address(),
                        "peer is connected"
                    );
                    was_up = true;
                    let opened = Instant::now();
                    if self.use_up(link).await {
                        backoff.reset();
                        continue;
                    }
                    if opened.elapsed() >= STABLE {
                        backoff.reset();
                    }
                }
                Some(Err(error)) if was_up => {
                    was_up = false;
                    tracing::warn!(
                        peer = self.terms.peer,
                        address = self.channel.address(),
                        error = %error,
                        "peer cannot be reached, trying again until it can"
                    );
                }
                Some(Err(error)) => {
                    let (peer, address) = (self.terms.peer, self.channel.address());
                    tracing::debug!(peer, address, error = %error, "peer cannot be reached yet");
                }
            }
            self.links
                .unless_requested(tokio::time::sleep(backoff.next_delay()))
                .await;
        }
    }

    /// Lends a link out until it ends; returns whether that was our wish, and another one is wanted at once.
    async fn use_up(&self, link: Link) -> bool {
        let link = Arc::new(link);
        let renew = Arc::new(Notify::new());
        let lane = Lane::new(Arc::clone(&link), self.terms.limit, Arc::clone(&renew));
        let id = lane.id();
        if self.tell.send(News::Up(lane)).await.is_err() {
            return false;
        }
        let (ended, renewed) = tokio::select! {
            ended = link.ended() => (Some(ended), false),
            () = renew.notified() => (timeout(CONFIRM, link.finish()).await.ok(), true),
            () = self.links.requested() => (timeout(CONFIRM, link.finish()).await.ok(), false),
        };
        // Without an answer the link goes as it is: then it counts what it had under way.
        let unsent = match ended {
            Some(Ended { unsent, lost, status }) => {
                if lost > 0 {
                    tracing::error!(
                        peer = self.terms.peer,
                        address = self.channel.address(),
                        lost,
                        status = %status,
                        "peer went away with envelopes that it had not handed on"
                    );
                } else {
                    let (peer, address) = (self.terms.peer, self.channel.address());
                    tracing::info!(peer, address, status = %status, "connection ended");
                }
                unsent
            }
            None => Vec::new(),
        };
        // The other end is gone only when the agent has finished.
        self.tell.send(News::Down { id, unsent }).await.is_ok() && renewed
    }
}
