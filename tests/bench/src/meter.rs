//! Counts what arrives and how late.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memmem;

use crate::load::{SAMPLE_MARK, TIME_DIGITS};

/// Shared by all consumers of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    envelopes: AtomicU64,
    /// Delays of the sampled envelopes, in microseconds.
    delays: Mutex<Vec<u64>>,
}

/// Delays in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delays {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

impl Meter {
    /// Notes a message with `envelopes` envelopes; looks for sampled ones in its bytes.
    pub(crate) fn note(&self, envelopes: u64, bytes: &[u8]) {
        self.envelopes.fetch_add(envelopes, Ordering::Relaxed);
        let now = now_nanos();
        for at in memmem::find_iter(bytes, SAMPLE_MARK) {
            let digits = at + SAMPLE_MARK.len();
            let sent = bytes
                .get(digits..digits + TIME_DIGITS)
                .and_then(|digits| std::str::from_utf8(digits).ok())
                .and_then(|digits| digits.parse::<u64>().ok());
            if let Some(sent) = sent {
                self.delay(now.saturating_sub(sent) / 1000);
            }
        }
    }

    /// There are so many envelopes by now.
    pub(crate) fn set(&self, envelopes: u64) {
        self.envelopes.store(envelopes, Ordering::Relaxed);
    }

    /// Notes a delay of `micros`.
    pub(crate) fn delay(&self, micros: u64) {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner).push(micros);
    }

    pub(crate) fn envelopes(&self) -> u64 {
        self.envelopes.load(Ordering::Relaxed)
    }

    /// Forgets the delays so far: the measurement begins.
    pub(crate) fn reset_delays(&self) {
        self.delays.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Delays {
    /// Of all consumers together.
    pub(crate) fn of(meters: &[Arc<Meter>]) -> Self {
        let mut delays = Vec::new();
        for meter in meters {
            delays.extend_from_slice(&meter.delays.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Self::of_micros(delays)
    }

    /// Of these delays in microseconds.
    pub(crate) fn of_micros(mut delays: Vec<u64>) -> Self {
        delays.sort_unstable();
        let at = |permille: usize| {
            let last = delays.len().saturating_sub(1);
            let micros = delays.get((delays.len() * permille / 1000).min(last)).copied();
            millis(micros.unwrap_or_default())
        };
        Self {
            p50: at(500),
            p99: at(990),
            max: at(1000),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "delays of less than a century")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

pub(crate) fn now_nanos() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}
