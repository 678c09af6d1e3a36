//! The endpoints of one route.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::RwLock;

use crate::endpoint::Endpoint;
use crate::registration::{Balancing, InvalidRegistration, Registration};
use crate::registry::{Registered, Shared};

mod lease;
mod maglev;
mod options;
mod select;
#[cfg(test)]
mod tests;

pub use lease::Lease;
pub use options::{HashRouting, RouteOptions};
pub use select::{Instance, NoEndpoint, Wanted};

/// The endpoints of one route, and how one of them is chosen for a request.
#[derive(Debug)]
pub struct Pool {
    /// Host and path.
    route: Box<str>,
    /// How many bytes of `route` are the host.
    host: usize,
    table: Arc<Shared>,
    members: RwLock<Members>,
    /// How many endpoints there are, for look-ups that need not know more.
    count: AtomicU32,
    /// Where the next choice begins.
    turn: AtomicU32,
    /// When an endpoint was last registered or removed, in milliseconds of the table's time.
    changed: AtomicU64,
}

/// The endpoints of a pool and what they say of the whole route.
#[derive(Debug, Default)]
struct Members {
    endpoints: Vec<Arc<Endpoint>>,
    /// `None` if no registration has said anything of the route.
    options: Option<Arc<RouteOptions>>,
}

impl Pool {
    /// An empty pool of a route, whose name is in lower case and has no slash at its end. The first request gets the
    /// endpoint whose turn it is.
    pub(crate) fn new(route: &str, table: Arc<Shared>, turn: u32, now: u64) -> Self {
        Self {
            route: route.into(),
            host: route.find('/').unwrap_or(route.len()),
            table,
            members: RwLock::default(),
            count: AtomicU32::new(0),
            turn: AtomicU32::new(turn),
            changed: AtomicU64::new(now),
        }
    }

    /// Host and path, as they are compared with those of requests: in lower case, without a slash at the end.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route
    }

    /// The host of the route, perhaps with `*` as its first label.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.route[..self.host]
    }

    /// The path of the route, with a slash at its beginning; empty for a whole host.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.route[self.host..]
    }

    /// How many endpoints there are. No request needs more attempts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed) as usize
    }

    /// Whether there is no endpoint.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The endpoints, the oldest first.
    #[must_use]
    pub fn endpoints(&self) -> Vec<Arc<Endpoint>> {
        self.members.read().endpoints.clone()
    }

    /// What registrations have said of the whole route; `None` if nothing.
    #[must_use]
    pub fn options(&self) -> Option<Arc<RouteOptions>> {
        self.members.read().options.clone()
    }

    /// How endpoints are chosen.
    #[must_use]
    pub fn balancing(&self) -> Balancing {
        let own = self
            .members
            .read()
            .options
            .as_ref()
            .and_then(|options| options.balancing);
        own.unwrap_or(self.table.settings.balancing)
    }

    /// A connection to `endpoint` has failed: others are chosen for a quarter of the stale threshold, as long as there are
    /// others.
    pub fn failed(&self, endpoint: &Arc<Endpoint>, now: Instant) {
        endpoint.fail(self.table.time(now));
    }

    /// Removes an endpoint with TLS, which never becomes stale, after a connection has shown that it is gone. Returns whether
    /// it was there.
    pub fn prune_endpoint(&self, endpoint: &Arc<Endpoint>, now: Instant) -> bool {
        let now = self.table.time(now);
        endpoint.tls() && self.remove_where(now, |member| member.id() == endpoint.id()).len() == 1
    }

    /// Takes a registration.
    pub(crate) fn register(
        &self,
        registration: &Registration<'_>,
        now: u64,
    ) -> Result<Registered, InvalidRegistration> {
        let stale_threshold = self.table.stale_threshold(registration);
        // Nearly all registrations say again what is known: these wait for no other.
        if let Some(known) = self.members.read().at(registration)
            && known.is(registration, stale_threshold)
        {
            known.refresh(now);
            self.touch(now);
            return Ok(Registered::Refreshed);
        }
        let tags = self.table.tags.share(registration.tags);
        let tags = tags.ok_or(InvalidRegistration::TextTooLong)?;
        let endpoint = Endpoint::new(self.table.next_id(), registration, tags, stale_threshold, now)?;
        let mut members = self.members.write();
        let position = members.position(registration);
        if let Some(known) = position.map(|position| &members.endpoints[position])
            && !known.modification_tag().succeeded_by(&registration.modification_tag)
        {
            return Ok(Registered::Outdated);
        }
        members.options = RouteOptions::after(members.options.as_ref(), &endpoint);
        let answer = match position {
            Some(position) => {
                members.endpoints[position] = Arc::new(endpoint);
                Registered::Updated
            }
            None => {
                // Most routes have one endpoint, and no need for more room.
                if members.endpoints.is_empty() {
                    members.endpoints.reserve_exact(1);
                }
                members.endpoints.push(Arc::new(endpoint));
                self.counted(&members);
                Registered::Added
            }
        };
        self.touch(now);
        Ok(answer)
    }

    /// Removes the endpoint of a registration, unless a newer one has been registered at its address. Returns whether it was
    /// there.
    pub(crate) fn unregister(&self, registration: &Registration<'_>, now: u64) -> bool {
        let goes = |member: &Endpoint| {
            let tag = member.modification_tag();
            let newer = &registration.modification_tag;
            member.is_at(registration.host, registration.port) && (tag == *newer || tag.succeeded_by(newer))
        };
        !self.remove_where(now, goes).is_empty()
    }

    /// Removes the endpoints that have waited for another registration for too long.
    pub(crate) fn prune(&self, now: u64) -> Vec<Arc<Endpoint>> {
        let is_stale = |member: &Endpoint| member.is_stale(now);
        if self.members.read().endpoints.iter().any(|member| is_stale(member)) {
            self.remove_where(now, is_stale)
        } else {
            Vec::new()
        }
    }

    /// Counts all endpoints as registered just now.
    pub(crate) fn refresh(&self, now: u64) {
        for endpoint in &self.members.read().endpoints {
            endpoint.refresh(now);
        }
    }

    /// Whether the pool has been empty for longer than `timeout` milliseconds.
    pub(crate) fn is_dead(&self, now: u64, timeout: u64) -> bool {
        self.is_empty() && (timeout == 0 || now.saturating_sub(self.changed.load(Ordering::Relaxed)) > timeout)
    }

    fn remove_where(&self, now: u64, goes: impl Fn(&Endpoint) -> bool) -> Vec<Arc<Endpoint>> {
        let mut members = self.members.write();
        let removed: Vec<_> = members.endpoints.extract_if(.., |member| goes(member)).collect();
        if !removed.is_empty() {
            members.options = members
                .options
                .as_ref()
                .map(|options| Arc::new(options.with_other_members()));
            self.counted(&members);
            self.touch(now);
        }
        removed
    }

    /// The number of endpoints has changed.
    fn counted(&self, members: &Members) {
        let count = u32::try_from(members.endpoints.len()).unwrap_or(u32::MAX);
        let before = self.count.swap(count, Ordering::Relaxed);
        self.table.endpoints_changed(before, count);
    }

    fn touch(&self, now: u64) {
        self.changed.store(now, Ordering::Relaxed);
    }
}

impl Members {
    fn position(&self, registration: &Registration<'_>) -> Option<usize> {
        let is_it = |member: &Arc<Endpoint>| member.is_at(registration.host, registration.port);
        self.endpoints.iter().position(is_it)
    }

    fn at(&self, registration: &Registration<'_>) -> Option<&Arc<Endpoint>> {
        self.position(registration).map(|position| &self.endpoints[position])
    }
}
