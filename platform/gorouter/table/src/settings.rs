//! The settings of a routing table.

use std::time::Duration;

use crate::registration::Balancing;

/// The settings of a [`Registry`](crate::Registry). `Default` has the values of the original router.
#[derive(Debug, Clone)]
pub struct TableSettings {
    /// How long an endpoint without TLS stays when nobody registers it again, unless its registration names a shorter time.
    pub stale_threshold: Duration,
    /// How endpoints are chosen where a route does not say. [`Balancing::Hash`] counts as round robin here, because a table
    /// has no header to hash.
    pub balancing: Balancing,
    /// How long a route whose endpoints have all gone still answers that it is empty; zero: until the next pruning, or not
    /// at all when its last endpoint was unregistered.
    pub empty_pool_timeout: Duration,
    /// The most requests that an endpoint may have in flight; 0: any number.
    pub max_conns: u32,
    /// The availability zone of the router.
    pub zone: String,
    /// Whether endpoints of the router's zone come first.
    pub zone_preference: ZonePreference,
    /// Which endpoints the table takes.
    pub sharding: Sharding,
}

/// Whether endpoints in the router's own availability zone come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ZonePreference {
    /// All zones are alike.
    #[default]
    None,
    /// The first attempt of a request goes to an endpoint of the router's zone, if one can take it.
    LocallyOptimistic,
}

/// Which endpoints a table takes, by their isolation segments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sharding {
    /// All endpoints.
    #[default]
    All,
    /// Endpoints of these segments only.
    Segments(Vec<String>),
    /// Endpoints of these segments, and those of no segment.
    SharedAndSegments(Vec<String>),
}

impl Sharding {
    /// Whether an endpoint of this isolation segment belongs into the table. An empty segment means none.
    pub(crate) fn takes(&self, segment: &str) -> bool {
        match self {
            Self::All => true,
            Self::Segments(segments) => segments.iter().any(|own| own == segment),
            Self::SharedAndSegments(segments) => segment.is_empty() || segments.iter().any(|own| own == segment),
        }
    }
}

impl Default for TableSettings {
    fn default() -> Self {
        Self {
            stale_threshold: Duration::from_secs(120),
            balancing: Balancing::RoundRobin,
            empty_pool_timeout: Duration::ZERO,
            max_conns: 500,
            zone: String::new(),
            zone_preference: ZonePreference::None,
            sharding: Sharding::All,
        }
    }
}
