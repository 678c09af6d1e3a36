//! What one binding was given, delivered and lost.
//!
//! The law: `recovered + routed = sent + lost + waiting + in the resend window`. The agent's ledger has the same in sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_flow::{Ledger, Loss, Reason};

/// Where losses behind the router are booked.
pub(crate) const HOP: &str = "egress";

/// Most reasons of refusals that are told apart.
const MAX_REASONS: usize = 16;

/// What refusals beyond those are told with.
const OTHER_REASONS: &str = "for other reasons";

/// The counts of one binding.
#[derive(Debug)]
pub(crate) struct Account {
    ledger: Arc<Ledger>,
    routed: AtomicU64,
    recovered: AtomicU64,
    sent: AtomicU64,
    lost: AtomicU64,
    /// Of the lost: what the drain refused, or has no form, by reason. Reasons are only ever appended.
    refused: Mutex<Vec<(Arc<str>, u64)>>,
}

impl Account {
    pub(crate) fn new(ledger: &Arc<Ledger>) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            routed: AtomicU64::new(0),
            recovered: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            refused: Mutex::default(),
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
        self.ledger.lost(HOP, reason, losses);
        self.ledger.in_flight(-signed(count));
    }

    /// Envelopes were lost because the drain refused them, or because they have no form as messages, and `why`. Returns
    /// whether this reason is a new one.
    pub(crate) fn refuse(&self, reason: Reason, why: &str, losses: &[Loss]) -> bool {
        let count: u64 = losses.iter().map(|loss| loss.count).sum();
        let is_new = self.note_refused(why, count);
        // Only then: who reads the sum and then the reasons never takes a refusal for another loss.
        self.lose(reason, losses);
        is_new
    }

    fn note_refused(&self, why: &str, count: u64) -> bool {
        let mut refused = self.refused.lock();
        let why = match refused.len() {
            MAX_REASONS.. if !refused.iter().any(|(known, _)| **known == *why) => OTHER_REASONS,
            _ => why,
        };
        match refused.iter_mut().find(|(known, _)| **known == *why) {
            Some((_, known)) => {
                *known += count;
                false
            }
            None => {
                refused.push((why.into(), count));
                true
            }
        }
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

    /// How many of the lost ones the drain refused, or could not be written as messages, and why. New reasons come at the
    /// end.
    pub(crate) fn refused(&self) -> Vec<(Arc<str>, u64)> {
        self.refused.lock().clone()
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
