//! Keeps a link to one peer open, and opens a new one whenever it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use weir_flow::{Ledger, LogContext};
use weir_net::{Backoff, Channel, Target};
use weir_rpc::ingress::{Ended, Link};
use weir_service::{Shutdown, Tasks};

use super::Terms;
use super::egress::LinkEvent;
use super::lane::Lane;

/// How long a link must have lived for the next attempt to begin with the shortest delay again.
const STABLE: Duration = Duration::from_secs(1);

/// How long a peer may take to confirm what it received, after it was asked to end the link.
const CONFIRM: Duration = Duration::from_secs(5);

/// The task that opens the links to one peer and reports them to the [`Egress`](super::egress::Egress) task.
pub(super) struct Connector {
    channel: Channel,
    terms: Terms,
    ledger: Arc<Ledger>,
    tasks: Tasks,
    links: Shutdown,
    link_events: mpsc::Sender<LinkEvent>,
}

impl Connector {
    pub(super) fn new(
        target: &Target,
        terms: Terms,
        context: &LogContext,
        links: Shutdown,
        link_events: mpsc::Sender<LinkEvent>,
    ) -> Self {
        Self {
            channel: Channel::new(target),
            terms,
            ledger: Arc::clone(&context.ledger),
            tasks: context.tasks.clone(),
            links,
            link_events,
        }
    }

    /// Keeps a link open until `links` is fired, and then ends it in order.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::between_parts();
        // Only the first failure of an outage is a warning, so that an absent peer does not fill the log.
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
                        // The link was replaced because its limit was reached, so the peer is healthy, and there is
                        // nothing to wait for.
                        backoff.reset();
                        continue;
                    }
                    // A peer that accepts and closes at once must not be tried again without a delay.
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

    /// Reports `link` to the egress task and waits until it ends. Returns whether this side chose to replace it, so that the
    /// next one is opened without a delay.
    async fn use_up(&self, link: Link) -> bool {
        let link = Arc::new(link);
        let renew = Arc::new(Notify::new());
        let lane = Lane::new(Arc::clone(&link), self.terms.limit, Arc::clone(&renew));
        let id = lane.id();
        if self.link_events.send(LinkEvent::Opened(lane)).await.is_err() {
            return false;
        }
        let (ended, renewed) = tokio::select! {
            ended = link.ended() => (Some(ended), false),
            // `finish` waits until the peer has acknowledged what was sent, so that a planned end loses nothing.
            () = renew.notified() => (timeout(CONFIRM, link.finish()).await.ok(), true),
            () = self.links.requested() => (timeout(CONFIRM, link.finish()).await.ok(), false),
        };
        // If the peer does not confirm in time, the link is dropped. It then counts what was in flight as lost.
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
        // Sending fails only if the egress task has ended, and then no further link is needed.
        self.link_events.send(LinkEvent::Ended { id, unsent }).await.is_ok() && renewed
    }
}
