//! What the router tells of its requests and routes.

use opentelemetry::metrics::{Counter, Meter};

use crate::account::Account;

/// Where requests are told.
#[derive(Debug)]
pub(crate) struct Told {
    total_requests: Counter<u64>,
    routes_pruned: Counter<u64>,
}

impl Told {
    /// The instruments of `meter`.
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            total_requests: meter.u64_counter("total_requests").build(),
            routes_pruned: meter.u64_counter("routes_pruned").build(),
        }
    }

    /// A request is over.
    pub(crate) fn request(&self, _account: &Account) {
        self.total_requests.add(1, &[]);
    }

    /// Endpoints have lost their routes.
    pub(crate) fn pruned(&self, count: u64) {
        self.routes_pruned.add(count, &[]);
    }
}
