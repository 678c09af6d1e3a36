//! The subscriptions to events: what is announced goes to each of them, without waiting for any.
//!
//! All subscriptions share one ring of the last [`KEPT`] events. A subscription that falls behind by more is ended: its client
//! connects again and lists the routes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::broadcast;

/// Events that a subscription may be behind, as in the original.
const KEPT: usize = 1024;

/// What happened to a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It was registered or changed, or is announced again.
    Upsert,
    /// It was removed or expired.
    Delete,
}

impl Action {
    /// The name of the event.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Upsert => "Upsert",
            Self::Delete => "Delete",
        }
    }
}

/// An event, written once for all subscriptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) action: Action,
    /// The route as JSON.
    pub(crate) route: Bytes,
}

impl Announcement {
    pub(crate) fn new<R: Serialize>(action: Action, route: &R) -> Self {
        // A route has texts and numbers only, which are always JSON.
        let route = serde_json::to_vec(route).unwrap_or_default().into();
        Self { action, route }
    }
}

/// The subscriptions to one kind of route.
#[derive(Debug, Clone)]
pub(crate) struct Hub {
    sender: broadcast::Sender<Announcement>,
    count: Arc<AtomicUsize>,
}

/// One subscription; it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Subscription {
    receiver: broadcast::Receiver<Announcement>,
    count: Arc<AtomicUsize>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(KEPT),
            count: Arc::default(),
        }
    }

    /// Gives an event to all subscriptions.
    pub(crate) fn announce(&self, announcement: Announcement) {
        // It is no failure that there is no subscription.
        drop(self.sender.send(announcement));
    }

    /// Begins a subscription with the next event.
    pub(crate) fn subscribe(&self) -> Subscription {
        self.count.fetch_add(1, Ordering::Relaxed);
        Subscription {
            receiver: self.sender.subscribe(),
            count: Arc::clone(&self.count),
        }
    }

    /// How many subscriptions there are.
    pub(crate) fn subscriptions(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl Subscription {
    /// The next event; `None` when the subscription fell behind. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Announcement> {
        self.receiver.recv().await.ok()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever keeps up gets everything in order; a subscription that does not read is ended, and holds up no other.
    #[tokio::test]
    async fn a_slow_subscription_is_ended() {
        let hub = Hub::new();
        let (mut quick, mut slow) = (hub.subscribe(), hub.subscribe());
        for number in 0..=KEPT {
            let announcement = Announcement::new(Action::Upsert, &number);
            hub.announce(announcement.clone());
            assert_eq!(quick.next().await, Some(announcement));
        }
        assert_eq!(slow.next().await, None);
        assert_eq!(hub.subscriptions(), 2);
        drop(slow);
        assert_eq!(hub.subscriptions(), 1);
    }
}
