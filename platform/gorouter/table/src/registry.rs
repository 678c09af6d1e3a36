//! All routes, and which of them a request belongs to.
//!
//! Routes stand in shards by their host, each behind a lock of its own. A change of a pool happens under the lock of its
//! shard, so that no registration goes into a pool that has just been removed; a look-up holds that lock only while it finds
//! the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ahash::RandomState;
use parking_lot::RwLock;

use crate::endpoint::{Endpoint, EndpointId};
use crate::pool::Pool;
use crate::registration::{InvalidRegistration, Registration};
use crate::settings::TableSettings;
use crate::tags::TagPool;

mod hosts;
mod name;
#[cfg(test)]
mod tests;

use hosts::Hosts;
use name::{Host, MAX_HOST, Route, RouteName};

/// How many shards there are: with this many, threads hardly ever meet at one.
const SHARDS: usize = 64;

/// All routes of a router.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<Shared>,
    hasher: RandomState,
    shards: Box<[RwLock<Hosts>]>,
    /// How many wildcard hosts there are: without any, a look-up need not search for them.
    wildcards: AtomicUsize,
    is_suspended: AtomicBool,
    /// Pruning was suspended when it was last due.
    was_suspended: AtomicBool,
}

/// What all pools of a table share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: TableSettings,
    /// How long a failed endpoint is avoided, in milliseconds.
    pub(crate) retry_after: u64,
    pub(crate) tags: TagPool,
    /// When the table's time began.
    started: Instant,
    endpoints_made: AtomicU64,
    routes: AtomicUsize,
    endpoints: AtomicUsize,
    /// The last registration, in milliseconds of the table's time; 0: none yet.
    last_registration: AtomicU64,
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Registered {
    /// The endpoint is new.
    Added,
    /// The endpoint was known, and has changed.
    Updated,
    /// The endpoint was known as it is.
    Refreshed,
    /// A newer version of the endpoint is known; nothing has changed.
    Outdated,
    /// The endpoint is of an isolation segment that the table does not take.
    OtherShard,
    /// The registration cannot be one of a route.
    Invalid(InvalidRegistration),
}

/// The endpoints that one pruning has removed from a route.
#[derive(Debug)]
pub struct Pruned {
    /// Host and path.
    pub route: String,
    /// The endpoints.
    pub endpoints: Vec<Arc<Endpoint>>,
}

/// How much a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Routes, the empty ones too.
    pub routes: usize,
    /// Endpoints of all routes; one that serves several routes counts for each.
    pub endpoints: usize,
    /// How long ago the last registration came; `None`: there was none.
    pub since_registration: Option<Duration>,
}

impl Registry {
    /// A table without routes. Its time begins at `now`.
    #[must_use]
    pub fn new(settings: TableSettings, now: Instant) -> Self {
        let retry_after = milliseconds(settings.stale_threshold / 4);
        let shared = Shared {
            settings,
            retry_after,
            tags: TagPool::default(),
            started: now,
            endpoints_made: AtomicU64::new(0),
            routes: AtomicUsize::new(0),
            endpoints: AtomicUsize::new(0),
            last_registration: AtomicU64::new(0),
        };
        Self {
            shared: Arc::new(shared),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            wildcards: AtomicUsize::new(0),
            is_suspended: AtomicBool::new(false),
            was_suspended: AtomicBool::new(false),
        }
    }

    /// Takes a registration of `route`, a host (perhaps with `*` as its first label) and perhaps a path.
    pub fn register(&self, route: &str, registration: &Registration<'_>, now: Instant) -> Registered {
        if !self.shared.settings.sharding.takes(registration.isolation_segment) {
            return Registered::OtherShard;
        }
        let name = match RouteName::new(route) {
            Ok(name) => name,
            Err(reason) => return Registered::Invalid(reason),
        };
        let route = name.route();
        let now = self.shared.time(now);
        let (hash, shard) = self.shard(route.host);
        let known = {
            let hosts = shard.read();
            let pool = hosts.pool(hash, &route);
            pool.map(|pool| pool.register(registration, now))
        };
        let registered = known.unwrap_or_else(|| self.register_new(&route, registration, now));
        match registered {
            Ok(registered) => {
                self.shared.last_registration.store(now, Ordering::Relaxed);
                registered
            }
            Err(reason) => Registered::Invalid(reason),
        }
    }

    /// Takes a registration of a route that was not known a moment ago.
    fn register_new(
        &self,
        route: &Route<'_>,
        registration: &Registration<'_>,
        now: u64,
    ) -> Result<Registered, InvalidRegistration> {
        let (hash, shard) = self.shard(route.host);
        let mut hosts = shard.write();
        if let Some(pool) = hosts.pool(hash, route) {
            return pool.register(registration, now);
        }
        // Routers that start together should not all begin with the same endpoint.
        let turn = u32::try_from(self.hasher.hash_one(route.name) >> 32).unwrap_or_default();
        let pool = Arc::new(Pool::new(route.name, Arc::clone(&self.shared), turn, now));
        let registered = pool.register(registration, now)?;
        let is_new_host = hosts.insert(hash, route, pool, |host| self.hash(host));
        self.shared.routes.fetch_add(1, Ordering::Relaxed);
        if is_new_host && route.host.is_wildcard {
            self.wildcards.fetch_add(1, Ordering::Relaxed);
        }
        Ok(registered)
    }

    /// Removes the endpoint of a registration from `route`, unless a newer version of it is known. Returns whether it was
    /// there.
    pub fn unregister(&self, route: &str, registration: &Registration<'_>, now: Instant) -> bool {
        let Ok(name) = RouteName::new(route) else {
            return false;
        };
        let route = name.route();
        if !self.shared.settings.sharding.takes(registration.isolation_segment) {
            return false;
        }
        let now = self.shared.time(now);
        let (hash, shard) = self.shard(route.host);
        let (is_removed, is_dead) = {
            let hosts = shard.read();
            let Some(pool) = hosts.pool(hash, &route) else {
                return false;
            };
            let is_removed = pool.unregister(registration, now);
            (is_removed, pool.is_dead(now, self.shared.empty_pool_timeout()))
        };
        if is_dead {
            self.remove_dead(&mut shard.write(), hash, &route, now);
        }
        is_removed
    }

    /// Removes endpoints that nobody has registered again for too long, and routes that have been empty for too long. While
    /// pruning is suspended nothing is removed; the first time after that, all endpoints count as registered just now.
    pub fn prune(&self, now: Instant) -> Vec<Pruned> {
        let now = self.shared.time(now);
        if self.is_suspended.load(Ordering::Relaxed) {
            self.was_suspended.store(true, Ordering::Relaxed);
            return Vec::new();
        }
        let refresh = self.was_suspended.swap(false, Ordering::Relaxed);
        let mut all_pruned = Vec::new();
        for shard in &self.shards {
            let mut dead = Vec::new();
            for pool in shard.read().pools() {
                if refresh {
                    pool.refresh(now);
                }
                let endpoints = pool.prune(now);
                if pool.is_dead(now, self.shared.empty_pool_timeout()) {
                    dead.push(Arc::clone(pool));
                }
                if !endpoints.is_empty() {
                    let route = pool.route().to_owned();
                    all_pruned.push(Pruned { route, endpoints });
                }
            }
            if !dead.is_empty() {
                let mut hosts = shard.write();
                for pool in dead {
                    let route = Route::split(pool.route());
                    self.remove_dead(&mut hosts, self.hash(route.host), &route, now);
                }
                hosts.shrink(|host| self.hash(host));
            }
        }
        self.shared.tags.sweep();
        all_pruned
    }

    /// Suspends pruning, or ends that: while registrations cannot come, their absence means nothing.
    pub fn suspend_pruning(&self, is_suspended: bool) {
        self.is_suspended.store(is_suspended, Ordering::Relaxed);
    }

    /// Removes the pool of `route` if nothing has been registered in it meanwhile.
    fn remove_dead(&self, hosts: &mut Hosts, hash: u64, route: &Route<'_>, now: u64) {
        let timeout = self.shared.empty_pool_timeout();
        if hosts.pool(hash, route).is_some_and(|pool| pool.is_dead(now, timeout)) {
            let is_host_gone = hosts.remove(hash, route);
            self.shared.routes.fetch_sub(1, Ordering::Relaxed);
            if is_host_gone && route.host.is_wildcard {
                self.wildcards.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// The route of a request for `host`, without its port, and `path`, perhaps with a query.
    ///
    /// Of the routes of the host the one with the longest path that begins `path`, in whole segments, and that has an
    /// endpoint; if none has, the longest. Only if the host has none that fits, wildcards are tried: `*` for its first
    /// label, then for its first two, and so on.
    #[must_use]
    pub fn lookup(&self, host: &str, path: &str) -> Option<Arc<Pool>> {
        let mut lower = [0; MAX_HOST];
        let host = name::lower_case(host, &mut lower)?;
        let path = name::request_path(path)?;
        let exact = self.lookup_host(Host::exact(host), path);
        if exact.is_some() || self.wildcards.load(Ordering::Relaxed) == 0 {
            return exact;
        }
        Host::wildcards(host).find_map(|host| self.lookup_host(host, path))
    }

    fn lookup_host(&self, host: Host<'_>, path: &str) -> Option<Arc<Pool>> {
        let (hash, shard) = self.shard(host);
        shard.read().lookup(hash, host, path)
    }

    /// All routes, in no order.
    #[must_use]
    pub fn routes(&self) -> Vec<Arc<Pool>> {
        let mut routes = Vec::with_capacity(self.shared.routes.load(Ordering::Relaxed));
        for shard in &self.shards {
            routes.extend(shard.read().pools().cloned());
        }
        routes
    }

    /// How much the table holds.
    #[must_use]
    pub fn counts(&self, now: Instant) -> Counts {
        let last = self.shared.last_registration.load(Ordering::Relaxed);
        let since = self.shared.time(now).saturating_sub(last);
        Counts {
            routes: self.shared.routes.load(Ordering::Relaxed),
            endpoints: self.shared.endpoints.load(Ordering::Relaxed),
            since_registration: (last != 0).then(|| Duration::from_millis(since)),
        }
    }

    /// The hash of a host and the shard that has its routes.
    fn shard(&self, host: Host<'_>) -> (u64, &RwLock<Hosts>) {
        let hash = self.hash(host);
        // The tables inside use the lowest and the highest bits.
        let shard = usize::try_from(hash >> 32).unwrap_or_default() % SHARDS;
        (hash, &self.shards[shard])
    }

    fn hash(&self, host: Host<'_>) -> u64 {
        self.hasher.hash_one(host)
    }
}

impl Shared {
    /// The table's time in milliseconds. It begins with 1, so that 0 can mean never.
    pub(crate) fn time(&self, now: Instant) -> u64 {
        1 + milliseconds(now.saturating_duration_since(self.started))
    }

    /// How long the endpoint of a registration stays.
    pub(crate) fn stale_threshold(&self, registration: &Registration<'_>) -> Duration {
        let own = registration.stale_threshold;
        if own.is_zero() {
            self.settings.stale_threshold
        } else {
            own.min(self.settings.stale_threshold)
        }
    }

    pub(crate) fn next_id(&self) -> EndpointId {
        EndpointId::new(self.endpoints_made.fetch_add(1, Ordering::Relaxed))
    }

    /// A pool has another number of endpoints than before.
    pub(crate) fn endpoints_changed(&self, before: u32, now: u32) {
        self.endpoints.fetch_add(now as usize, Ordering::Relaxed);
        self.endpoints.fetch_sub(before as usize, Ordering::Relaxed);
    }

    fn empty_pool_timeout(&self) -> u64 {
        milliseconds(self.settings.empty_pool_timeout)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
