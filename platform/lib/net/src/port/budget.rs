//! Budgets for the bytes that requests hold at a time: for a connection, for a peer network, and for a port.
//!
//! A request is charged for the bytes that have arrived, never for the length that it announces: a client could use up
//! a budget with announcements alone. A request that does not fit is refused with the limit that it met. It does not
//! wait for room, because it would hold the bytes that have arrived while it waits.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use thiserror::Error;
use weir_error::{Classify, ErrorKind};

use super::{HeldBytes, PeerNetwork};

/// The connections that share a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The budget of one connection.
    Connection,
    /// The budget of all connections of one peer network to a port.
    Address,
    /// The budget of all connections of a port.
    Port,
}

impl Scope {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "on this connection",
            Self::Address => "from this address",
            Self::Port => "at this port",
        }
    }
}

/// The error of a request that does not fit into a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("requests under way {} hold more than `{limit}` bytes", scope.as_str())]
pub struct Exceeded {
    /// Which budget is used up.
    pub scope: Scope,
    /// The bytes of that budget.
    pub limit: usize,
}

impl Classify for Exceeded {
    fn kind(&self) -> ErrorKind {
        match self.scope {
            Scope::Connection | Scope::Address => ErrorKind::RateLimited,
            Scope::Port => ErrorKind::Unavailable,
        }
    }

    fn retryable(&self) -> bool {
        true
    }

    fn hint(&self) -> Option<String> {
        Some(match self.scope {
            Scope::Connection | Scope::Address => "send fewer or smaller requests at a time".to_owned(),
            Scope::Port => "try again later".to_owned(),
        })
    }
}

/// A budget, which may be a part of a larger one: what is taken from it is taken from the larger one as well.
#[derive(Debug)]
pub(crate) struct Budget {
    scope: Scope,
    limit: usize,
    used: AtomicUsize,
    within: Option<Arc<Budget>>,
}

impl Budget {
    fn new(scope: Scope, limit: usize, within: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            scope,
            limit,
            used: AtomicUsize::new(0),
            within,
        })
    }

    fn take(&self, bytes: usize) -> Result<(), Exceeded> {
        // Relaxed ordering is enough here and below: the counter protects no other memory.
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.map_err(|_| Exceeded {
            scope: self.scope,
            limit: self.limit,
        })?;
        let outer = self.within.as_ref().map_or(Ok(()), |outer| outer.take(bytes));
        // All or nothing: what does not fit into the larger budget must not stay charged to this one.
        outer.inspect_err(|_| {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
        })
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(outer) = &self.within {
            outer.give_back(bytes);
        }
    }
}

/// The bytes that one request holds. They are given back to the budget when the charge is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
}

impl Charge {
    /// A charge to the budget of a connection that may hold `limit` bytes.
    #[cfg(test)]
    pub(crate) fn within(limit: usize) -> Self {
        Self::new(Budget::new(Scope::Connection, limit, None))
    }

    pub(crate) const fn new(budget: Arc<Budget>) -> Self {
        Self {
            budget,
            bytes: AtomicUsize::new(0),
        }
    }

    /// Charges `bytes` more to the request.
    pub(crate) fn add(&self, bytes: usize) -> Result<(), Exceeded> {
        self.budget.take(bytes)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back all bytes of the request.
    pub(crate) fn clear(&self) {
        let bytes = self.bytes.swap(0, Ordering::Relaxed);
        if bytes > 0 {
            self.budget.give_back(bytes);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The budgets of one port.
#[derive(Debug)]
pub(super) struct Budgets {
    limits: HeldBytes,
    port: Arc<Budget>,
    networks: Mutex<Networks>,
}

#[derive(Debug, Default)]
struct Networks {
    known: HashMap<PeerNetwork, Weak<Budget>>,
    /// The number of known networks at which those without a connection are removed.
    sweep_at: usize,
}

impl Budgets {
    pub(super) fn new(limits: HeldBytes) -> Self {
        Self {
            limits,
            port: Budget::new(Scope::Port, limits.port, None),
            networks: Mutex::default(),
        }
    }

    /// The budget of a new connection of `network`.
    pub(super) fn of_connection(&self, network: PeerNetwork) -> Arc<Budget> {
        let within = self.of_network(network);
        Budget::new(Scope::Connection, self.limits.connection, Some(within))
    }

    fn of_network(&self, network: PeerNetwork) -> Arc<Budget> {
        let mut networks = self.networks.lock();
        if let Some(known) = networks.known.get(&network).and_then(Weak::upgrade) {
            return known;
        }
        // A sweep each time the map has doubled costs a constant time per new network, and needs no timer.
        if networks.known.len() >= networks.sweep_at {
            networks.known.retain(|_, budget| budget.strong_count() > 0);
            networks.sweep_at = (2 * networks.known.len()).max(64);
        }
        let budget = Budget::new(Scope::Address, self.limits.address, Some(Arc::clone(&self.port)));
        networks.known.insert(network, Arc::downgrade(&budget));
        budget
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn network(number: u8) -> PeerNetwork {
        IpAddr::from([127, 0, 0, number]).into()
    }

    fn exceeded(scope: Scope, limit: usize) -> Result<(), Exceeded> {
        Err(Exceeded { scope, limit })
    }

    /// The budget of a connection is exceeded, then that of its network, then that of the port. Bytes that do not fit
    /// are charged to no budget, and a charge that is cleared or dropped gives its bytes back to all three.
    #[test]
    fn budgets_nest() {
        let budgets = Budgets::new(HeldBytes {
            connection: 4,
            address: 6,
            port: 10,
        });
        let charge = |number| Charge::new(budgets.of_connection(network(number)));
        let [first, second, other, third] = [charge(1), charge(1), charge(2), charge(3)];
        assert_eq!(first.add(4), Ok(()));
        assert_eq!(first.add(1), exceeded(Scope::Connection, 4));
        assert_eq!(second.add(3), exceeded(Scope::Address, 6));
        assert_eq!(second.add(2), Ok(()));
        assert_eq!(other.add(4), Ok(()));
        assert_eq!(third.add(1), exceeded(Scope::Port, 10));
        drop(first);
        assert_eq!(third.add(4), Ok(()));
        second.clear();
        assert_eq!(second.add(4), exceeded(Scope::Port, 10));
        drop((other, third));
        assert_eq!(second.add(4), Ok(()));
    }

    /// After many networks that have left, the map holds only a bounded number of them.
    #[test]
    fn networks_are_forgotten() {
        let budgets = Budgets::new(HeldBytes::SMALL);
        let kept = budgets.of_connection(network(0));
        for number in 0..u32::from(u16::MAX) {
            drop(budgets.of_connection(IpAddr::from(number.to_be_bytes()).into()));
        }
        assert!(budgets.networks.lock().known.len() <= 64);
        drop(kept);
    }
}
