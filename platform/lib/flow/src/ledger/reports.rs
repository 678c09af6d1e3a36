//! Reports of losses by source.
//!
//! The losses of one source at one hop for one reason are a series with a running total. A report has the total, so the
//! next report makes up for one that is lost on its way. A series that stops growing is therefore reported a few more
//! times. Then it ends, and later losses start a new series. So the memory for series is bounded by the losses of one
//! minute.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// The greatest number of series. The losses of further sources are added up under [`OTHER_SOURCES`].
const MAX_SERIES: usize = 1000;

/// The source id for the losses of sources beyond [`MAX_SERIES`].
const OTHER_SOURCES: &str = "(other sources)";

/// After how many calls without growth a series is reported again.
const REPEAT_AFTER: u32 = 10;

/// After how many calls without growth a series ends.
const END_AFTER: u32 = 60;

/// The losses of one source at one hop for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossReport {
    /// The source that lost envelopes.
    pub source_id: String,
    /// The hop within the component.
    pub hop: &'static str,
    /// The name of the reason ([`crate::Reason`]).
    pub reason: &'static str,
    /// The number of lost envelopes since the last report; zero in a repeated report.
    pub count: u64,
    /// The number of lost envelopes since the series began.
    pub total: u64,
    /// The id of the series, which is unique among all ledgers.
    pub series: String,
}

/// The series of one ledger.
#[derive(Debug)]
pub(super) struct Reports {
    /// A random number that distinguishes this ledger's series from those of others and of earlier runs.
    ledger: u64,
    begun: u64,
    series: BTreeMap<(&'static str, &'static str, String), Series>,
}

#[derive(Debug)]
struct Series {
    number: u64,
    total: u64,
    reported: u64,
    /// The number of calls since the series last grew.
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
                reported: 0,
                quiet: 0,
            }
        });
        series.total += count;
    }

    /// Returns the reports that are due. It must be called at regular intervals of about a second.
    pub(super) fn take(&mut self) -> Vec<LossReport> {
        let mut reports = Vec::new();
        let ledger = self.ledger;
        self.series.retain(|(hop, reason, source_id), series| {
            let count = series.total - series.reported;
            series.reported = series.total;
            series.quiet = if count > 0 { 0 } else { series.quiet + 1 };
            if series.quiet.is_multiple_of(REPEAT_AFTER) {
                reports.push(LossReport {
                    source_id: source_id.clone(),
                    hop,
                    reason,
                    count,
                    total: series.total,
                    series: format!("{ledger:x}-{}", series.number),
                });
            }
            series.quiet < END_AFTER
        });
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports name the sources up to a limit, and add up to all losses.
    #[test]
    fn sources_are_named_up_to_a_limit() {
        let mut reports = Reports::default();
        for index in 0..MAX_SERIES + 50 {
            reports.add("egress", "buffer_full", &format!("app-{index}"), 2);
        }
        let reported = reports.take();
        assert_eq!(reported.len(), MAX_SERIES + 1);
        let sum: u64 = reported.iter().map(|report| report.count).sum();
        assert_eq!(sum, 2 * (MAX_SERIES as u64 + 50));
        assert!(reports.take().is_empty());
    }

    /// A series reports its growth at once, repeats its total, and ends. Later losses are a new series.
    #[test]
    fn totals_are_repeated_until_a_series_ends() {
        let mut reports = Reports::default();
        reports.add("egress", "slow_consumer", "app", 3);
        let first = reports.take().remove(0);
        reports.add("egress", "slow_consumer", "app", 4);
        let second = reports.take().remove(0);
        assert_eq!((first.count, first.total), (3, 3));
        assert_eq!((second.count, second.total), (4, 7));
        assert_eq!(first.series, second.series);
        let again: Vec<LossReport> = (0..2 * END_AFTER).flat_map(|_| reports.take()).collect();
        assert_eq!(again.len(), (END_AFTER / REPEAT_AFTER) as usize);
        assert!(again.iter().all(|report| (report.count, report.total) == (0, 7)));
        reports.add("egress", "slow_consumer", "app", 1);
        let other = reports.take().remove(0);
        assert_eq!((other.count, other.total), (1, 1));
        assert_ne!(other.series, first.series);
    }
}
