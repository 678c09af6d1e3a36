//! Idle connections, over all backends.
//!
//! Nobody watches an idle connection: it is looked at when a request takes it, and dropped when its time is over. When there
//! are as many as may be, the one that lay there longest goes.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::task::Context;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::Exclusive;

/// How long a connection may lie idle.
pub(super) const IDLE: Duration = Duration::from_secs(90);

/// A bounded number of idle connections, by what they lead to.
#[derive(Debug)]
pub(crate) struct IdlePool<K> {
    most: usize,
    per_backend: usize,
    connections: Mutex<Connections<K>>,
}

#[derive(Debug)]
struct Connections<K> {
    next: u64,
    /// The connections of a backend, the one that came last at the end.
    by_backend: HashMap<K, Vec<Idle>, ahash::RandomState>,
    /// Who has the connection that came so many connections ago.
    order: BTreeMap<u64, K>,
}

#[derive(Debug)]
struct Idle {
    number: u64,
    since: Instant,
    connection: Box<Exclusive>,
}

impl<K: Clone + Eq + Hash> IdlePool<K> {
    /// A pool of `most` connections, of which one backend has `per_backend`.
    pub(crate) fn new(most: usize, per_backend: usize) -> Self {
        Self {
            most,
            per_backend,
            connections: Mutex::default(),
        }
    }

    /// A connection to `backend` that can take a request now.
    pub(crate) fn take(&self, backend: &K, cx: &mut Context<'_>) -> Option<Box<Exclusive>> {
        loop {
            let mut idle = self.connections.lock().pop(backend)?;
            if idle.connection.is_usable(cx) {
                return Some(idle.connection);
            }
        }
    }

    /// Keeps a connection to `backend` for its next request.
    pub(crate) fn put(&self, backend: K, connection: Box<Exclusive>, now: Instant) {
        // What has to go is dropped outside the lock.
        let _gone = self.connections.lock().push(self, backend, connection, now);
    }

    /// Drops the connections to `backend`: its route is gone.
    pub(crate) fn forget(&self, backend: &K) {
        let _gone = self.connections.lock().remove_all(backend);
    }

    /// Drops connections that lay idle for too long; returns when to look again.
    pub(crate) fn expire(&self, now: Instant) -> Instant {
        let mut gone = Vec::new();
        let mut connections = self.connections.lock();
        while let Some(idle) = connections.overdue(now) {
            gone.push(idle);
        }
        drop(connections);
        now + IDLE / 4
    }
}

impl<K> Default for Connections<K> {
    fn default() -> Self {
        Self {
            next: 0,
            by_backend: HashMap::default(),
            order: BTreeMap::new(),
        }
    }
}

impl<K: Clone + Eq + Hash> Connections<K> {
    fn pop(&mut self, backend: &K) -> Option<Idle> {
        let idles = self.by_backend.get_mut(backend)?;
        let idle = idles.pop();
        if idles.is_empty() {
            self.by_backend.remove(backend);
        }
        let idle = idle?;
        self.order.remove(&idle.number);
        Some(idle)
    }

    fn push(
        &mut self,
        bounds: &IdlePool<K>,
        backend: K,
        connection: Box<Exclusive>,
        now: Instant,
    ) -> Option<Box<Exclusive>> {
        if bounds.most == 0
            || self
                .by_backend
                .get(&backend)
                .is_some_and(|idles| idles.len() >= bounds.per_backend)
        {
            return Some(connection);
        }
        let gone = (self.order.len() >= bounds.most).then(|| self.pop_oldest()).flatten();
        self.next += 1;
        let number = self.next;
        self.order.insert(number, backend.clone());
        self.by_backend.entry(backend).or_default().push(Idle {
            number,
            since: now,
            connection,
        });
        gone.map(|idle| idle.connection)
    }

    fn pop_oldest(&mut self) -> Option<Idle> {
        let (number, backend) = self.order.pop_first()?;
        let idles = self.by_backend.get_mut(&backend)?;
        let index = idles.iter().position(|idle| idle.number == number)?;
        let idle = idles.remove(index);
        if idles.is_empty() {
            self.by_backend.remove(&backend);
        }
        Some(idle)
    }

    fn overdue(&mut self, now: Instant) -> Option<Idle> {
        let (_, backend) = self.order.first_key_value()?;
        let since = self.by_backend.get(backend)?.first()?.since;
        (since + IDLE <= now).then(|| self.pop_oldest()).flatten()
    }

    fn remove_all(&mut self, backend: &K) -> Vec<Idle> {
        let idles = self.by_backend.remove(backend).unwrap_or_default();
        for idle in &idles {
            self.order.remove(&idle.number);
        }
        idles
    }
}
