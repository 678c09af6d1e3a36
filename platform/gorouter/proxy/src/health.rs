//! Whether load balancers should send requests (contract compute-routing §13.7).

use std::sync::atomic::{AtomicU8, Ordering};

use crate::refusal::Refusal;

const STARTING: u8 = 0;
const HEALTHY: u8 = 1;
const DRAINING: u8 = 2;

/// The router's health, as load balancers ask for it.
#[derive(Debug, Default)]
pub(crate) struct RouterHealth(AtomicU8);

impl RouterHealth {
    /// The router takes requests. One that drains stays so.
    pub(crate) fn healthy(&self) {
        // Fails only when it drains already.
        self.0
            .compare_exchange(STARTING, HEALTHY, Ordering::Relaxed, Ordering::Relaxed)
            .ok();
    }

    /// The router shall get no more requests.
    pub(crate) fn draining(&self) {
        self.0.store(DRAINING, Ordering::Relaxed);
    }

    /// Whether the router takes requests.
    pub(crate) fn is_healthy(&self) -> bool {
        self.0.load(Ordering::Relaxed) == HEALTHY
    }

    /// The answer to a load balancer.
    pub(crate) fn answer(&self) -> Refusal {
        match self.is_healthy() {
            true => Refusal::Healthy,
            false => Refusal::Unhealthy,
        }
    }
}
