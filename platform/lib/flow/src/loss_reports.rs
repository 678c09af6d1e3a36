//! Carries reports of losses to the log cache, as envelopes (decision 0026).
//!
//! The source that loses envelopes is the one that fills the queues, so a report under its id would be dropped with
//! them. All reports therefore travel under a source id of their own, [`SOURCE`], and the log cache stores each under
//! the source that lost. A report is a counter [`COUNTER`] with the running total of its series. [`LossTotals`]
//! computes the growth since the last total that arrived, so the next report makes up for one that was lost.

use std::collections::HashMap;

use weir_envelope::batch::{RawEnvelope, source_hash};
use weir_envelope::encode::Writer;
use weir_envelope::view::Message;

use crate::LossReport;

/// The source id of reports on their way to the log cache.
pub const SOURCE: &str = "weir.losses";

/// The name of the counter, on its way and in the log cache.
pub const COUNTER: &str = "weir.dropped";

/// The tag with the id of the source that lost envelopes.
const LOST_BY: &str = "lost_by";

/// The tag with the id of the series.
const SERIES: &str = "series";

/// The longest id of a series that is accepted, in bytes.
const LONGEST_SERIES: usize = 64;

/// The number of series in each of the two generations: more than all ledgers of a foundation have at a time.
const GENERATION: usize = 50_000;

impl LossReport {
    /// Appends the report as an encoded `Envelope` of `component`; `now` is in nanoseconds since the Unix epoch.
    pub fn write(&self, component: &str, now: i64, envelope: &mut Vec<u8>) {
        Writer::new(envelope)
            .timestamp(now)
            .source_id(SOURCE)
            .tag("origin", "loggregator.weir")
            .tag("component", component)
            .tag("hop", self.hop)
            .tag("reason", self.reason)
            .tag(LOST_BY, &self.source_id)
            .tag(SERIES, &self.series)
            .counter(COUNTER, self.count, self.total);
    }
}

/// Whether an envelope is a report on its way; `hash` is [`report_hash`]. Nearly all envelopes are decided by their
/// hash.
#[must_use]
pub fn is_report(envelope: RawEnvelope<'_>, hash: u32) -> bool {
    envelope.source_hash() == hash && envelope.source_id_bytes() == SOURCE.as_bytes()
}

/// Returns the hash of [`SOURCE`], for [`is_report`].
#[must_use]
pub fn report_hash() -> u32 {
    source_hash(SOURCE)
}

/// The last total that arrived of each series.
///
/// Series are kept in two generations. A series that is reported again moves to the young one, and when that is full,
/// the old one is dropped. A series that was dropped and is reported again would be counted twice. That would take
/// twice `GENERATION` other series within the ten seconds between two of its reports.
#[derive(Debug, Default)]
pub struct LossTotals {
    young: HashMap<Box<str>, u64>,
    old: HashMap<Box<str>, u64>,
}

impl LossTotals {
    /// Writes the growth that a report adds to its series, as an envelope of the source that lost; returns `false` if
    /// it adds nothing, or is not a valid report.
    pub fn write_growth(&mut self, report: RawEnvelope<'_>, envelope: &mut Vec<u8>) -> bool {
        let view = report.view();
        let Message::Counter {
            name: COUNTER, total, ..
        } = view.message()
        else {
            return false;
        };
        let tag = |wanted| view.tags().find(|(key, _)| *key == wanted).map(|(_, value)| value);
        let (Some(source_id), Some(series)) = (tag(LOST_BY), tag(SERIES)) else {
            return false;
        };
        if series.len() > LONGEST_SERIES {
            return false;
        }
        let growth = self.grow(series, total);
        if growth == 0 {
            return false;
        }
        let own = |key: &str| key == LOST_BY || key == SERIES;
        Writer::new(envelope)
            .timestamp(view.timestamp())
            .source_id(source_id)
            .instance_id(view.instance_id())
            .tags(view.tags().filter(|(key, _)| !own(key)))
            .counter(COUNTER, growth, total);
        true
    }

    fn grow(&mut self, series: &str, total: u64) -> u64 {
        let before = self.young.get(series).copied().unwrap_or_else(|| {
            let before = self.old.remove(series);
            if self.young.len() >= GENERATION {
                self.old = std::mem::take(&mut self.young);
            }
            before.unwrap_or(0)
        });
        // A report may be overtaken by a later one, so a smaller total does not lower the known one.
        self.young.insert(series.into(), total.max(before));
        total.saturating_sub(before)
    }
}

#[cfg(test)]
mod tests {
    use weir_envelope::batch::{Batch, BatchBuilder};

    use super::*;

    fn report(source_id: &str, count: u64, total: u64) -> Batch {
        let report = LossReport {
            source_id: source_id.to_owned(),
            hop: "egress",
            reason: "slow_consumer",
            count,
            total,
            series: format!("a-{source_id}"),
        };
        let mut builder = BatchBuilder::new();
        builder.push_with(|envelope| report.write("doppler", 17, envelope));
        builder.finish()
    }

    fn growth(totals: &mut LossTotals, batch: &Batch) -> Option<u64> {
        let mut envelope = Vec::new();
        let raw = batch.iter().next().unwrap();
        assert!(is_report(raw, report_hash()));
        totals.write_growth(raw, &mut envelope).then(|| {
            let view = weir_envelope::view::EnvelopeView::new(&envelope);
            assert_eq!((view.source_id(), view.timestamp()), ("app", 17));
            assert_eq!(view.tag("hop").as_deref(), Some("egress"));
            assert_eq!(view.tag(SERIES), None);
            match view.message() {
                Message::Counter { delta, .. } => delta,
                other => panic!("{other:?}"),
            }
        })
    }

    /// The next report makes up for a lost one, and repeated or overtaken reports add nothing.
    #[test]
    fn totals_make_up_for_lost_reports() {
        let mut totals = LossTotals::default();
        assert_eq!(growth(&mut totals, &report("app", 3, 3)), Some(3));
        // The report of 5 more is lost.
        assert_eq!(growth(&mut totals, &report("app", 2, 10)), Some(7));
        assert_eq!(growth(&mut totals, &report("app", 0, 10)), None);
        assert_eq!(growth(&mut totals, &report("app", 5, 8)), None);
        assert_eq!(growth(&mut totals, &report("app", 1, 11)), Some(1));
    }

    /// Other series do not displace one that is reported again, and memory is bounded.
    #[test]
    fn series_are_remembered_by_use() {
        let mut totals = LossTotals::default();
        assert_eq!(totals.grow("used", 1), 1);
        for index in 0..3 * GENERATION {
            totals.grow(&format!("stranger-{index}"), 1);
            if index % 1000 == 0 {
                assert_eq!(totals.grow("used", 1), 0, "{index}");
            }
            assert!(totals.young.len() + totals.old.len() <= 2 * GENERATION);
        }
    }
}
