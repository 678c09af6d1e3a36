//! Reports of losses as envelopes.
//!
//! A report must not be shed with the source that it is about, which is the very one that fills the queues. So all reports
//! travel under a source id of their own, [`SOURCE`], and whoever stores them gives each back to the source that lost. A
//! report is a counter [`COUNTER`] with the running total of its series; [`Told`] turns totals into the growth since the
//! last one that arrived, so a report that is lost all the same is made good by the next.

use std::collections::HashMap;

use weir_envelope::batch::{RawEnvelope, source_hash};
use weir_envelope::encode::Writer;
use weir_envelope::view::Message;

use crate::LossReport;

/// The source id under which reports travel.
pub const SOURCE: &str = "weir.losses";

/// The counter's name, under way and where it is stored.
pub const COUNTER: &str = "weir.dropped";

/// The tag with the source that lost.
const LOST_BY: &str = "lost_by";

/// The tag with the report's series.
const SERIES: &str = "series";

/// Longest series that is one of ours.
const LONGEST_SERIES: usize = 64;

/// Series remembered in each of two generations: those of more ledgers than a foundation has, for the minutes that a series
/// lasts.
const GENERATION: usize = 50_000;

impl LossReport {
    /// Appends the report of `component` as an `Envelope`; `now` in nanoseconds since the Unix epoch.
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

/// Whether an envelope is a report under way. A look at its hash, for nearly all of them.
#[must_use]
pub fn is_report(envelope: RawEnvelope<'_>, hash: u32) -> bool {
    envelope.source_hash() == hash && envelope.source_id_bytes() == SOURCE.as_bytes()
}

/// What [`is_report`] compares with.
#[must_use]
pub fn report_hash() -> u32 {
    source_hash(SOURCE)
}

/// The totals of the reports that arrived.
///
/// Series are remembered in two generations: one that is told again moves to the young one, and when that is full the old
/// one is forgotten. A series that was forgotten and is told again would count twice; that takes twice `GENERATION` other
/// series within the ten seconds between two of its reports.
#[derive(Debug, Default)]
pub struct Told {
    young: HashMap<Box<str>, u64>,
    old: HashMap<Box<str>, u64>,
}

impl Told {
    /// Writes what a report adds to what was told before, as an envelope of the source that lost; `false` if it adds nothing,
    /// or is not a report in our form.
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
        // Reports that overtake each other are no losses that came back.
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

    fn growth(told: &mut Told, batch: &Batch) -> Option<u64> {
        let mut envelope = Vec::new();
        let raw = batch.iter().next().unwrap();
        assert!(is_report(raw, report_hash()));
        told.write_growth(raw, &mut envelope).then(|| {
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

    /// A report that was lost is made good by the next; repetitions and overtaken ones add nothing.
    #[test]
    fn totals_make_lost_reports_good() {
        let mut told = Told::default();
        assert_eq!(growth(&mut told, &report("app", 3, 3)), Some(3));
        // The report of 5 more is lost.
        assert_eq!(growth(&mut told, &report("app", 2, 10)), Some(7));
        assert_eq!(growth(&mut told, &report("app", 0, 10)), None);
        assert_eq!(growth(&mut told, &report("app", 5, 8)), None);
        assert_eq!(growth(&mut told, &report("app", 1, 11)), Some(1));
    }

    /// Strangers do not push out a series that is told again, and memory is bounded.
    #[test]
    fn series_are_remembered_by_use() {
        let mut told = Told::default();
        assert_eq!(told.grow("used", 1), 1);
        for index in 0..3 * GENERATION {
            told.grow(&format!("stranger-{index}"), 1);
            if index % 1000 == 0 {
                assert_eq!(told.grow("used", 1), 0, "{index}");
            }
            assert!(told.young.len() + told.old.len() <= 2 * GENERATION);
        }
    }
}
