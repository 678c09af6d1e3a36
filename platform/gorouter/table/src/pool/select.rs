//! Which endpoint a request gets.
//!
//! Every endpoint that a request may have belongs to one of the classes of [`Class`], and one of the best class that occurs
//! is chosen: the next in turn, the one with the fewest requests, or the one that a hash leads to.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::lease::Lease;
use super::maglev::Maglev;
use super::{Members, Pool, RouteOptions};
use crate::endpoint::{Endpoint, EndpointId};
use crate::registration::Balancing;
use crate::settings::ZonePreference;

/// What a request wants of its endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'w> {
    /// The id of the instance that the request's session belongs to. It is the first choice of the first attempt.
    pub sticky: Option<&'w str>,
    /// No other instance than `sticky` will do.
    pub must_be_sticky: bool,
    /// The instance that the request names.
    pub instance: Option<Instance<'w>>,
    /// The value of the header of [`HashRouting`](super::HashRouting), if the request has it.
    pub hash_key: Option<&'w str>,
    /// How many attempts there were before.
    pub attempt: u32,
    /// The endpoints of earlier attempts, which are the last choice.
    pub tried: &'w [EndpointId],
}

/// The instance that a request names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instance<'w> {
    /// From the header `X-CF-App-Instance`.
    App {
        /// The id of the app.
        id: &'w str,
        /// The index of the instance.
        index: &'w str,
    },
    /// From the header `X-CF-Process-Instance`.
    Process {
        /// The id of the process.
        id: &'w str,
        /// The index of the instance; `None`: any.
        index: Option<&'w str>,
    },
}

/// Why a request gets no endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoEndpoint {
    /// The route has no endpoint.
    #[error("route has no endpoint")]
    Empty,
    /// All endpoints that the request may have serve as many requests as they may.
    #[error("all endpoints of the route have as many requests as they may")]
    Overloaded,
    /// The route has no such instance.
    #[error("route has no such instance")]
    UnknownInstance,
}

/// How well an endpoint suits a request, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// It can take the request.
    Ready,
    /// It could, but is in another zone than the router.
    Remote,
    /// A connection has failed a short time ago.
    Failed,
    /// An earlier attempt of the request has failed there.
    Tried,
}

/// What decides about the class of an endpoint.
struct Criteria<'s> {
    wanted: &'s Wanted<'s>,
    /// The zone that endpoints should be in.
    zone: Option<&'s str>,
    max_conns: u32,
    now: u64,
    retry_after: u64,
}

impl Pool {
    /// Chooses an endpoint for a request.
    ///
    /// # Errors
    /// When there is none that the request may have.
    pub fn select(&self, wanted: &Wanted<'_>, now: Instant) -> Result<Lease, NoEndpoint> {
        let members = self.members.read();
        let settings = &self.table.settings;
        if members.endpoints.is_empty() {
            return Err(NoEndpoint::Empty);
        }
        if let Some(id) = wanted.sticky
            && (wanted.attempt == 0 || wanted.must_be_sticky)
        {
            let instance = members.endpoints.iter().rev().find(|member| member.instance_id() == id);
            if let Some(lease) = instance.and_then(|member| Lease::take(member, settings.max_conns)) {
                return Ok(lease);
            }
            if wanted.must_be_sticky {
                return Err(instance.map_or(NoEndpoint::UnknownInstance, |_| NoEndpoint::Overloaded));
            }
        }
        let criteria = Criteria {
            wanted,
            zone: self.wanted_zone(wanted),
            max_conns: settings.max_conns,
            now: self.table.time(now),
            retry_after: self.table.retry_after,
        };
        // Another request can take the last place of the chosen endpoint in between; then it is out of the question.
        while let Some((member, class)) = self.choose(&members, &criteria) {
            if class >= Class::Failed {
                for member in &members.endpoints {
                    member.forgive();
                }
            }
            if let Some(lease) = Lease::take(member, settings.max_conns) {
                return Ok(lease);
            }
        }
        let is_known = members.endpoints.iter().any(|member| wanted.may_have(member));
        Err(if is_known {
            NoEndpoint::Overloaded
        } else {
            NoEndpoint::UnknownInstance
        })
    }

    /// The zone in which a request should get its endpoint; `None`: any.
    fn wanted_zone(&self, wanted: &Wanted<'_>) -> Option<&str> {
        let settings = &self.table.settings;
        let is_wanted = settings.zone_preference == ZonePreference::LocallyOptimistic && wanted.attempt == 0;
        is_wanted.then_some(settings.zone.as_str())
    }

    fn choose<'m>(&self, members: &'m Members, criteria: &Criteria<'_>) -> Option<(&'m Arc<Endpoint>, Class)> {
        let options = members.options.as_deref();
        let own = options.and_then(|options| options.balancing);
        if own == Some(Balancing::Hash)
            && let (Some(options), Some(key)) = (options, criteria.wanted.hash_key)
        {
            return by_hash(members, options, key, criteria);
        }
        let balancing = own.filter(|balancing| *balancing != Balancing::Hash);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize % members.endpoints.len();
        let (before, after) = members.endpoints.split_at(turn);
        let in_turn = after.iter().chain(before);
        match balancing.unwrap_or(self.table.settings.balancing) {
            Balancing::LeastConnection => least_connection(in_turn, criteria),
            Balancing::RoundRobin | Balancing::Hash => first_of_best_class(in_turn, criteria),
        }
    }
}

impl Wanted<'_> {
    /// Whether the endpoint is the named instance, if one is named.
    fn may_have(&self, endpoint: &Endpoint) -> bool {
        match self.instance {
            None => true,
            Some(Instance::App { id, index }) => endpoint.app_id() == id && endpoint.instance_index() == index,
            Some(Instance::Process { id, index }) => {
                index.is_none_or(|index| endpoint.instance_index() == index) && endpoint.process_id() == id
            }
        }
    }
}

impl Criteria<'_> {
    /// `None` if the request cannot have the endpoint at all.
    fn class(&self, endpoint: &Endpoint) -> Option<Class> {
        let is_full = self.max_conns > 0 && endpoint.in_flight() >= self.max_conns;
        if is_full || !self.wanted.may_have(endpoint) {
            None
        } else if self.wanted.tried.contains(&endpoint.id()) {
            Some(Class::Tried)
        } else if endpoint.has_failed(self.now, self.retry_after) {
            Some(Class::Failed)
        } else if self.zone.is_some_and(|zone| zone != endpoint.availability_zone()) {
            Some(Class::Remote)
        } else {
            Some(Class::Ready)
        }
    }
}

/// The first endpoint of the best class that occurs.
fn first_of_best_class<'m>(
    in_turn: impl Iterator<Item = &'m Arc<Endpoint>>,
    criteria: &Criteria<'_>,
) -> Option<(&'m Arc<Endpoint>, Class)> {
    let mut best: Option<(&Arc<Endpoint>, Class)> = None;
    for member in in_turn {
        match criteria.class(member) {
            Some(Class::Ready) => return Some((member, Class::Ready)),
            Some(class) if best.is_none_or(|(_, best)| class < best) => best = Some((member, class)),
            _ => {}
        }
    }
    best
}

/// The endpoint with the fewest requests in the best class that occurs; of several the first.
fn least_connection<'m>(
    in_turn: impl Iterator<Item = &'m Arc<Endpoint>>,
    criteria: &Criteria<'_>,
) -> Option<(&'m Arc<Endpoint>, Class)> {
    in_turn
        .filter_map(|member| criteria.class(member).map(|class| (member, class)))
        .min_by_key(|(member, class)| (*class, member.in_flight()))
}

/// The first endpoint that the key leads to and that has not too many requests compared with the others; if there is none,
/// the first that can take the request.
fn by_hash<'m>(
    members: &'m Members,
    options: &RouteOptions,
    key: &str,
    criteria: &Criteria<'_>,
) -> Option<(&'m Arc<Endpoint>, Class)> {
    // Zones do not count: two routers must lead a key to the same endpoint.
    let criteria = Criteria {
        zone: None,
        ..*criteria
    };
    let maglev = options.maglev.get_or_init(|| Maglev::new(&members.endpoints));
    let limit = options
        .hash
        .as_ref()
        .map_or(f32::INFINITY, |hash| members.limit(hash.balance));
    let mut seen = Seen::new(members.endpoints.len());
    let mut best: Option<(&Arc<Endpoint>, (Class, bool))> = None;
    for position in maglev.walk(key) {
        let member = &members.endpoints[position];
        let is_above = as_float(member.in_flight()) > limit;
        match criteria.class(member) {
            Some(Class::Ready) if !is_above => return Some((member, Class::Ready)),
            Some(class) if best.is_none_or(|(_, best)| (class, is_above) < best) => {
                best = Some((member, (class, is_above)));
            }
            _ => {}
        }
        if seen.all_after(position) {
            break;
        }
    }
    best.map(|(member, (class, _))| (member, class))
}

impl Members {
    /// How many requests an endpoint may have in flight at `balance` times the mean; infinite if there is no balance or no
    /// request.
    fn limit(&self, balance: f32) -> f32 {
        let all: u32 = self.endpoints.iter().map(|member| member.in_flight()).sum();
        if balance > 0.0 && all > 0 {
            balance * as_float(all) / self.endpoints.len() as f32
        } else {
            f32::INFINITY
        }
    }
}

/// Which endpoints a walk through the table of hashes has met.
struct Seen {
    met: Vec<bool>,
    left: usize,
}

impl Seen {
    fn new(count: usize) -> Self {
        Self {
            met: Vec::new(),
            left: count,
        }
    }

    /// Whether all have been met once this one has.
    fn all_after(&mut self, position: usize) -> bool {
        // Nearly all walks end at their first step, and need no list.
        if self.met.is_empty() {
            self.met.resize(self.left, false);
        }
        if !std::mem::replace(&mut self.met[position], true) {
            self.left -= 1;
        }
        self.left == 0
    }
}

const fn as_float(requests: u32) -> f32 {
    requests as f32
}
