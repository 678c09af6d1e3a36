//! The counts of one binding: envelopes that it was given, delivered and lost.
//!
//! The law: `recovered + routed = sent + lost + waiting + in the resend window`. The agent's ledger has the sums over
//! all bindings.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use weir_flow::{Ledger, Loss, Reason};

/// The hop at which losses behind the router are counted.
pub(crate) const HOP: &str = "egress";

/// The largest number of reasons for refusals that are counted separately.
const MAX_REASONS: usize = 16;

/// The reason under which all further refusals are counted.
const OTHER_REASONS: &str = "for other reasons";

/// The counts of one binding.
#[derive(Debug)]
pub(crate) struct Account {
    ledger: Arc<Ledger>,
    routed: AtomicU64,
    recovered: AtomicU64,
    sent: AtomicU64,
    lost: AtomicU64,
    /// The part of `lost` that the drain refused or that could not be formatted, by reason. Reasons are only ever
    /// appended, so that readers can refer to them by index.
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

    /// Counts envelopes that were routed to this binding.
    pub(crate) fn route(&self, count: u64) {
        self.routed.fetch_add(count, Ordering::Relaxed);
        self.ledger.in_flight(signed(count));
    }

    /// Counts envelopes that were found on disk when the agent started.
    pub(crate) fn recover(&self, count: u64) {
        self.recovered.fetch_add(count, Ordering::Relaxed);
        self.ledger.in_flight(signed(count));
    }

    /// Counts envelopes that were delivered.
    pub(crate) fn send(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
        self.ledger.sent(count);
        self.ledger.in_flight(-signed(count));
    }

    /// Counts envelopes that were lost.
    pub(crate) fn lose(&self, reason: Reason, losses: &[Loss]) {
        let count: u64 = losses.iter().map(|loss| loss.count).sum();
        if count == 0 {
            return;
        }
        self.lost.fetch_add(count, Ordering::Relaxed);
        self.ledger.lost(HOP, reason, losses);
        self.ledger.in_flight(-signed(count));
    }

    /// Counts envelopes that were lost because the drain refused them or because they cannot be formatted. `why` is the
    /// text of the reason. Returns whether this reason is new.
    pub(crate) fn refuse(&self, reason: Reason, why: &str, losses: &[Loss]) -> bool {
        let count: u64 = losses.iter().map(|loss| loss.count).sum();
        let is_new = self.note_refused(why, count);
        // The order matters: a reader that first reads the sum and then the reasons never takes a refusal for another
        // kind of loss.
        self.lose(reason, losses);
        is_new
    }

    fn note_refused(&self, why: &str, count: u64) -> bool {
        let mut refused = self.refused.lock();
        // A drain could answer with a different text each time, so only the first texts are counted separately.
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

    /// Returns the refused part of the lost envelopes, by reason. New reasons come at the end.
    pub(crate) fn refused(&self) -> Vec<(Arc<str>, u64)> {
        self.refused.lock().clone()
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Returns a loss of `count` envelopes of one source.
pub(crate) fn of_source(source_id: &str, count: u64) -> Vec<Loss> {
    vec![Loss {
        source_id: source_id.to_owned(),
        count,
    }]
}
