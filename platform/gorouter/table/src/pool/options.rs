//! What the registrations of a route say of the route as a whole.

use std::sync::{Arc, OnceLock};

use super::maglev::Maglev;
use crate::endpoint::Endpoint;
use crate::registration::Balancing;

/// What the registrations of a route say of the route as a whole. The last endpoint that was added or changed decides.
#[derive(Debug)]
pub struct RouteOptions {
    /// The URL of the route service that requests pass first.
    pub route_service_url: Option<Arc<str>>,
    /// How endpoints are chosen, if a registration has said so.
    pub balancing: Option<Balancing>,
    /// The rest of [`Balancing::Hash`].
    pub hash: Option<HashRouting>,
    /// Who may be a caller at most (`any`, `org` or `space`), and the allowed callers with commas between them.
    pub policy: Option<(Arc<str>, Arc<str>)>,
    /// The table of [`Balancing::Hash`] for the endpoints that the pool has; made when the first request needs it.
    pub(super) maglev: OnceLock<Maglev>,
}

/// How [`Balancing::Hash`] works for a route.
#[derive(Debug, Clone, PartialEq)]
pub struct HashRouting {
    /// The header whose value leads to an endpoint.
    pub header: Arc<str>,
    /// How many times the mean number of requests in flight an endpoint may have; 0: any number.
    pub balance: f32,
}

impl RouteOptions {
    /// The options of a route that has had `before`, once `endpoint` is one of its endpoints.
    pub(super) fn after(before: Option<&Arc<Self>>, endpoint: &Endpoint) -> Option<Arc<Self>> {
        let route_service_url = text(endpoint.route_service_url());
        let policy = text(endpoint.policy_scope()).map(|scope| (scope, endpoint.policy_sources().into()));
        // A registration that names no algorithm leaves that of the route.
        let (balancing, hash) = match endpoint.balancing() {
            Some(Balancing::Hash) => (Some(Balancing::Hash), Some(HashRouting::of(endpoint))),
            Some(balancing) => (Some(balancing), None),
            None => before.map_or((None, None), |before| (before.balancing, before.hash.clone())),
        };
        if route_service_url.is_none() && balancing.is_none() && policy.is_none() {
            return None;
        }
        let kept = before.filter(|before| {
            before.route_service_url == route_service_url
                && before.balancing == balancing
                && before.hash == hash
                && before.policy == policy
                && hash.is_none()
        });
        Some(kept.map_or_else(
            || {
                Arc::new(Self {
                    route_service_url,
                    balancing,
                    hash,
                    policy,
                    maglev: OnceLock::new(),
                })
            },
            Arc::clone,
        ))
    }

    /// These options for other endpoints.
    pub(super) fn with_other_members(&self) -> Self {
        Self {
            route_service_url: self.route_service_url.clone(),
            balancing: self.balancing,
            hash: self.hash.clone(),
            policy: self.policy.clone(),
            maglev: OnceLock::new(),
        }
    }
}

impl HashRouting {
    fn of(endpoint: &Endpoint) -> Self {
        Self {
            header: endpoint.hash_header().into(),
            balance: endpoint.hash_balance(),
        }
    }
}

fn text(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| text.into())
}
