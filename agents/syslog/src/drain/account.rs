//! What one binding was given, delivered and lost.
//!
//! The law: `recovered + routed = sent + lost + waiting + in the resend window`. The agent's ledger has the same in sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_flow::{Ledger, Loss, Reason};

/// Where losses behind the router are booked.
pub(crate) const HOP: &str = "egress";

/// The counts of one binding.
#[derive(Debug)]
pub(crate) struct Account {
    ledger: Arc<Ledger>,
    routed: AtomicU64,
    recovered: AtomicU64,
    sent: AtomicU64,
    lost: AtomicU64,
    /// Of the lost: what the drain refused, or has no form.
    refused: AtomicU64,
}

impl Account {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            routed: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    /// Envelopes came in for this binding.
    pub(crate) fn route(&self, count: u64) {
        self.routed.fetch_add(count, Ordering::Relaxed);
        self.ledger.in_flight(signed(count));
    }

    /// Envelopes were found on disk at the start.
    pub(crate) fn recover(&self, count: u64) {
        self.recovered.fetch_add(count, Ordering::Relaxed);
        self.ledger.in_flight(signed(count));
    }

    /// Envelopes were delivered.
    pub(crate) fn send(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
        self.ledger.sent(count);
        self.ledger.in_flight(-signed(count));
    }

    /// Envelopes were lost.
    pub(crate) fn lose(&self, reason: Reason, losses: &[Loss]) {
        let count: u64 = losses.iter().map(|loss| loss.count).sum();
        if count == 0 {
            return;
        }
        self.lost.fetch_add(count, Ordering::Relaxed);
        if matches!(reason, Reason::Rejected | Reason::Unconvertible) {
            self.refused.fetch_add(count, Ordering::Relaxed);
        }
        self.ledger.lost(HOP, reason, losses);
        self.ledger.in_flight(-signed(count));
    }

    pub(crate) fn routed(&self) -> u64 {
        self.routed.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn recovered(&self) -> u64 {
        self.recovered.load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How many of the lost ones the drain refused, or could not be written as messages.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// So many envelopes of one source.
pub(crate) fn of_source(source_id: &str, count: u64) -> Vec<Loss> {
    vec![Loss {
        source_id: source_id.to_owned(),
        count,
    }]
}
