//! Losses by source, as they are told to the sources.
//!
//! What is lost of one source, at one hop, for one reason, is a series with a running total. A report tells the total, so
//! one that is lost on its way is repaired by the next; for that a series that does not grow any more is told again a few
//! times. Then it ends, and what is lost later is another series: the memory of a ledger is bounded by what was lost within
//! a minute.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// Most series at a time; the losses of sources beyond are summed up under `OTHER_SOURCES`.
const MAX_SERIES: usize = 1000;

/// Stands for the sources beyond `MAX_SERIES`.
const OTHER_SOURCES: &str = "(other sources)";

/// A series that does not grow is told again every so many reports, …
const TOLD_AGAIN: u32 = 10;

/// … and ends after so many.
const ENDS: u32 = 60;

/// Losses of one source at one hop for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossReport {
    /// Who lost envelopes.
    pub source_id: String,
    /// Where in the component.
    pub hop: &'static str,
    /// Why.
    pub reason: &'static str,
    /// How many since the last report; none if the report repeats one that may have been lost.
    pub count: u64,
    /// How many since the series began.
    pub total: u64,
    /// The series, different from every other one of any ledger.
    pub series: String,
}

/// The series of one ledger.
#[derive(Debug)]
pub(super) struct Reports {
    /// Tells this ledger's series from those of others, and of the time before a restart.
    ledger: u64,
    begun: u64,
    series: BTreeMap<(&'static str, &'static str, String), Series>,
}

#[derive(Debug)]
struct Series {
    number: u64,
    total: u64,
    told: u64,
    /// Reports since it last grew.
    quiet: u32,
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            ledger: RandomState::new().build_hasher().finish(),
            begun: 0,
            series: BTreeMap::new(),
        }
    }
}

impl Reports {
    pub(super) fn add(&mut self, hop: &'static str, reason: &'static str, source_id: &str, count: u64) {
        let mut key = (hop, reason, source_id.to_owned());
        if self.series.len() >= MAX_SERIES && !self.series.contains_key(&key) {
            OTHER_SOURCES.clone_into(&mut key.2);
        }
        let begun = &mut self.begun;
        let series = self.series.entry(key).or_insert_with(|| {
            *begun += 1;
            Series {
                number: *begun,
                total: 0,
                told: 0,
                quiet: 0,
            }
        });
        series.total += count;
    }

    /// What is to be told now. To be called at even intervals, a second or so.
    pub(super) fn take(&mut self) -> Vec<LossReport> {
        let mut reports = Vec::new();
        let ledger = self.ledger;
        self.series.retain(|(hop, reason, source_id), series| {
            let count = series.total - series.told;
            series.told = series.total;
            series.quiet = if count > 0 { 0 } else { series.quiet + 1 };
            if series.quiet.is_multiple_of(TOLD_AGAIN) {
                reports.push(LossReport {
                    source_id: source_id.clone(),
                    hop,
                    reason,
                    count,
                    total: series.total,
                    series: format!("{ledger:x}-{}", series.number),
                });
            }
            series.quiet < ENDS
        });
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports name the sources, add up, and stay bounded.
    #[test]
    fn sources_are_named_up_to_a_limit() {
        let mut reports = Reports::default();
        for index in 0..MAX_SERIES + 50 {
            reports.add("egress", "buffer_full", &format!("app-{index}"), 2);
        }
        let told = reports.take();
        assert_eq!(told.len(), MAX_SERIES + 1);
        let sum: u64 = told.iter().map(|report| report.count).sum();
        assert_eq!(sum, 2 * (MAX_SERIES as u64 + 50));
        assert!(reports.take().is_empty());
    }

    /// A series tells its growth at once, its total again later, and ends; what is lost after that is another series.
    #[test]
    fn totals_are_told_again_and_series_end() {
        let mut reports = Reports::default();
        reports.add("egress", "slow_consumer", "app", 3);
        let first = reports.take().remove(0);
        reports.add("egress", "slow_consumer", "app", 4);
        let second = reports.take().remove(0);
        assert_eq!((first.count, first.total), (3, 3));
        assert_eq!((second.count, second.total), (4, 7));
        assert_eq!(first.series, second.series);
        let again: Vec<LossReport> = (0..2 * ENDS).flat_map(|_| reports.take()).collect();
        assert_eq!(again.len(), (ENDS / TOLD_AGAIN) as usize);
        assert!(again.iter().all(|report| (report.count, report.total) == (0, 7)));
        reports.add("egress", "slow_consumer", "app", 1);
        let other = reports.take().remove(0);
        assert_eq!((other.count, other.total), (1, 1));
        assert_ne!(other.series, first.series);
    }
}
