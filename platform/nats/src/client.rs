//! What all connections know of each other: clients, their subscriptions, and what the server is.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use subtle::ConstantTimeEq as _;
use weir_config::Secret;

use crate::budget::Budget;
use crate::ending::Ending;
use crate::hello::{DYNAMIC, Info};
use crate::metrics::Metrics;
use crate::outbound::{Outbound, OutboundLimits};
use crate::protocol::Limits;
use crate::subject::tokens;
use crate::table::Table;

/// Memory of one token of a subscription's subject in the table, and of a subscription beside its texts, in bytes.
const TOKEN: usize = 320;

/// What a server is, for all of its connections.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: Table<Subscription>,
    pub(crate) clients: Mutex<HashMap<u64, Arc<Client>, ahash::RandomState>>,
    pub(crate) next_id: AtomicU64,
    pub(crate) info: Info,
    pub(crate) limits: Limits,
    /// Most subscriptions of one connection.
    pub(crate) max_subscriptions: usize,
    /// The memory of all subscriptions.
    pub(crate) subscriptions: Budget,
    /// The memory of large messages that have not arrived completely.
    pub(crate) unfinished: Budget,
    pub(crate) outbound: OutboundLimits,
    /// The one user that may connect, if not anybody may.
    pub(crate) user: Option<(String, Secret<String>)>,
    pub(crate) metrics: Arc<Metrics>,
}

/// A client, as those see it who publish for it.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) address: IpAddr,
    pub(crate) outbound: Outbound,
    /// Whether the client takes headers.
    headers: AtomicBool,
    /// The version of the protocol that the client speaks.
    protocol: AtomicU8,
    subscriptions: Mutex<HashMap<Box<[u8]>, Arc<Subscription>, ahash::RandomState>>,
}

/// A subscription of a client.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) client: Arc<Client>,
    pub(crate) sid: Box<[u8]>,
    subject: Box<[u8]>,
    queue: Option<Box<[u8]>>,
    /// After how many messages it ends; 0: never.
    max: AtomicU64,
    delivered: AtomicU64,
}

/// Whether a subscription may take one more message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It may.
    Next,
    /// It may, and ends then.
    Last,
    /// It has ended.
    Over,
}

/// Why a subscription was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Shared {
    /// A new client at this address, which others can find.
    pub(crate) fn admit(&self, address: IpAddr) -> Arc<Client> {
        let client = Arc::new(Client {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            address,
            outbound: Outbound::new(self.outbound.clone()),
            headers: AtomicBool::new(false),
            protocol: AtomicU8::new(0),
            subscriptions: Mutex::default(),
        });
        self.clients.lock().insert(client.id, Arc::clone(&client));
        client
    }

    /// Forgets a client and its subscriptions.
    pub(crate) fn remove(&self, client: &Client) {
        self.clients.lock().remove(&client.id);
        let subscriptions = std::mem::take(&mut *client.subscriptions.lock());
        for subscription in subscriptions.values() {
            self.forget(subscription);
        }
        client.outbound.close();
    }

    /// Whether these are the user and the password. What is compared and how much of it is right does not show in the time.
    pub(crate) fn lets_in(&self, user: &str, password: &str) -> bool {
        self.user.as_ref().is_none_or(|(name, secret)| {
            let user = name.as_bytes().ct_eq(user.as_bytes());
            let password = secret.expose().as_bytes().ct_eq(password.as_bytes());
            (user & password).into()
        })
    }

    /// Subscribes a client to a valid subject, unless it has a subscription with this id already.
    pub(crate) fn subscribe(
        &self,
        client: &Arc<Client>,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
    ) -> Result<(), TooMany> {
        let mut subscriptions = client.subscriptions.lock();
        if subscriptions.contains_key(sid) {
            return Ok(());
        }
        if subscriptions.len() >= self.max_subscriptions {
            return Err(TooMany);
        }
        let subscription = Arc::new(Subscription {
            client: Arc::clone(client),
            sid: sid.into(),
            subject: subject.into(),
            queue: queue.map(Box::from),
            max: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
        });
        let memory = subscription.memory();
        if !self.subscriptions.take(memory) {
            self.subscriptions.give(memory);
            return Err(TooMany);
        }
        subscriptions.insert(sid.into(), Arc::clone(&subscription));
        self.table.insert(subject, queue, &subscription);
        self.metrics.subscribed();
        Ok(())
    }

    /// Ends a subscription of a client, now or after `max` messages in all.
    pub(crate) fn unsubscribe(&self, client: &Client, sid: &[u8], max: Option<u64>) {
        let mut subscriptions = client.subscriptions.lock();
        let Some(subscription) = subscriptions.get(sid) else {
            return;
        };
        match max {
            Some(max) if max > subscription.delivered.load(Ordering::Relaxed) => {
                subscription.max.store(max, Ordering::Relaxed);
            }
            _ => {
                let subscription = subscriptions.remove(sid).expect("it was there, under this lock");
                self.forget(&subscription);
            }
        }
    }

    /// Ends a subscription that has had all of its messages.
    pub(crate) fn finished(&self, subscription: &Arc<Subscription>) {
        let removed = subscription.client.subscriptions.lock().remove(&subscription.sid);
        if let Some(removed) = removed {
            self.forget(&removed);
        }
    }

    fn forget(&self, subscription: &Arc<Subscription>) {
        let queue = subscription.queue.as_deref();
        self.table.remove(&subscription.subject, queue, subscription);
        self.subscriptions.give(subscription.memory());
        self.metrics.unsubscribed();
    }

    /// Tells all clients that understand it that the server is about to stop.
    pub(crate) fn announce_stop(&self) {
        let clients: Vec<_> = self.clients.lock().values().cloned().collect();
        let info = Info {
            ldm: true,
            ..self.info.clone()
        };
        for client in clients {
            if client.protocol.load(Ordering::Relaxed) >= DYNAMIC {
                let line = info.line(client.id, client.address);
                client
                    .outbound
                    .push(line.len(), |buffer| buffer.extend_from_slice(&line));
                client.outbound.wake();
            }
        }
    }

    /// Ends all connections.
    pub(crate) fn stop(&self) {
        let clients: Vec<_> = self.clients.lock().values().cloned().collect();
        for client in clients {
            client.outbound.end(Ending::Stopping);
            client.outbound.wake();
        }
    }
}

impl Client {
    /// Notes what the client has said of itself.
    pub(crate) fn speaks(&self, protocol: u8, headers: bool) {
        self.protocol.store(protocol, Ordering::Relaxed);
        self.headers.store(headers, Ordering::Relaxed);
    }

    pub(crate) fn takes_headers(&self) -> bool {
        self.headers.load(Ordering::Relaxed)
    }
}

impl Subscription {
    /// Counts a message that is about to be delivered.
    pub(crate) fn take_turn(&self) -> Turn {
        let number = self.delivered.fetch_add(1, Ordering::Relaxed) + 1;
        match self.max.load(Ordering::Relaxed) {
            0 => Turn::Next,
            max if number < max => Turn::Next,
            max if number == max => Turn::Last,
            _ => Turn::Over,
        }
    }

    /// About how many bytes the subscription needs.
    fn memory(&self) -> usize {
        let queue = self.queue.as_deref().map_or(0, <[u8]>::len);
        TOKEN * (1 + tokens(&self.subject).count()) + 2 * (self.subject.len() + self.sid.len() + queue)
    }
}
