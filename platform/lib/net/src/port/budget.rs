//! Bytes of requests that are held at a time: by a connection, by a peer network, by a port.
//!
//! A request charges what it holds as it arrives, never what it announces, so that a budget cannot be used up by promises.
//! Nobody waits for room: a request that does not fit is refused and says which limit it met, because a caller that waits
//! holds what it has sent so far.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use thiserror::Error;
use weir_error::{Classify, ErrorKind};

use super::{HeldBytes, PeerNetwork};

/// Whose budget it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One connection.
    Connection,
    /// All connections of one peer network to a port.
    Address,
    /// All connections of a port.
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

/// Requests hold as much as they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("requests under way {} hold more than `{limit}` bytes", scope.as_str())]
pub struct Exceeded {
    /// Whose requests.
    pub scope: Scope,
    /// Most bytes that they may hold.
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

/// A budget, within another one.
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
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        taken.map_err(|_| Exceeded {
            scope: self.scope,
            limit: self.limit,
        })?;
        let outer = self.within.as_ref().map_or(Ok(()), |outer| outer.take(bytes));
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

/// What one request holds; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
}

impl Charge {
    /// What a request of a connection holds that may hold `limit` bytes.
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

    /// The request holds so many bytes more.
    pub(crate) fn add(&self, bytes: usize) -> Result<(), Exceeded> {
        self.budget.take(bytes)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// The request holds nothing any more.
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
    /// When so many are known, those without a connection are forgotten.
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

    /// A connection, then its network, then the port is full; what does not fit takes nothing, and what ends gives back.
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

    /// Networks without a connection are not remembered for ever.
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
