//! Compares two samples of the stack as a table.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use weir_proto::logcache_v1::MetaInfo;

use crate::stack::Counts;
use crate::terminal::thousands;

/// The state of the stack at one time.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) sources: BTreeMap<String, MetaInfo>,
    pub(super) counts: Counts,
    pub(super) drops: Vec<(String, u64)>,
}

/// A source between two samples.
#[derive(Debug)]
struct Row<'a> {
    source: &'a str,
    rate: u64,
    held: u64,
    expired: u64,
    dropped: u64,
}

/// Returns the lines of the table: the busiest sources first, and of equally busy ones those with the most losses.
pub(super) fn table(before: &Sample, now: &Sample, rows: usize) -> Vec<String> {
    let millis = u64::try_from(now.at.duration_since(before.at).as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let mut dropped: HashMap<&str, u64> = now
        .drops
        .iter()
        .map(|(source, count)| (source.as_str(), *count))
        .collect();
    let mut table: Vec<Row<'_>> = now
        .sources
        .iter()
        .map(|(source, info)| {
            let seen_before = before.sources.get(source).map_or(0, seen);
            Row {
                source,
                rate: seen(info).saturating_sub(seen_before).saturating_mul(1000) / millis,
                held: unsigned(info.count),
                expired: unsigned(info.expired),
                dropped: dropped.remove(source.as_str()).unwrap_or(0),
            }
        })
        .collect();
    // The log cache does not know these sources, because none of their envelopes arrived.
    table.extend(dropped.into_iter().map(|(source, dropped)| Row {
        source,
        rate: 0,
        held: 0,
        expired: 0,
        dropped,
    }));
    table.sort_by(|one, other| {
        (other.rate, other.dropped, other.held)
            .cmp(&(one.rate, one.dropped, one.held))
            .then(one.source.cmp(other.source))
    });
    let width = table
        .iter()
        .take(rows)
        .map(|row| row.source.chars().count())
        .max()
        .unwrap_or(0)
        .clamp(6, 48);
    let header = format!(
        "{:<width$}  {:>10}  {:>12}  {:>12}  {:>12}",
        "SOURCE", "RATE", "HELD", "EXPIRED", "DROPPED"
    );
    let mut lines = vec![header];
    lines.extend(table.iter().take(rows).map(|row| {
        format!(
            "{:<width$}  {:>10}  {:>12}  {:>12}  {:>12}",
            row.source,
            thousands(row.rate),
            thousands(row.held),
            thousands(row.expired),
            thousands(row.dropped)
        )
    }));
    if table.len() > rows {
        lines.push(format!("… and {} more", thousands((table.len() - rows) as u64)));
    }
    lines
}

/// Returns the number of all envelopes of a source that arrived.
fn seen(info: &MetaInfo) -> u64 {
    unsigned(info.count).saturating_add(unsigned(info.expired))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_service::clock;

    use super::*;

    fn sample(at: Instant, sources: &[(&str, i64, i64)], drops: &[(&str, u64)]) -> Sample {
        let info = |count, expired| MetaInfo {
            count,
            expired,
            ..MetaInfo::default()
        };
        Sample {
            at,
            sources: sources
                .iter()
                .map(|&(source, count, expired)| (source.to_owned(), info(count, expired)))
                .collect(),
            counts: Counts::default(),
            drops: drops
                .iter()
                .map(|&(source, count)| (source.to_owned(), count))
                .collect(),
        }
    }

    /// The busiest source is first, expired envelopes count for its rate, and a source with losses only is listed.
    #[test]
    fn the_busiest_is_first() {
        let start = clock::instant();
        let before = sample(start, &[("quiet", 10, 0), ("noisy", 1000, 0)], &[]);
        let now = sample(
            start + Duration::from_secs(2),
            &[("quiet", 12, 0), ("noisy", 900, 4100)],
            &[("gone", 7)],
        );
        assert_eq!(
            table(&before, &now, 10),
            [
                "SOURCE        RATE          HELD       EXPIRED       DROPPED",
                "noisy        2,000           900         4,100             0",
                "quiet            1            12             0             0",
                "gone             0             0             0             7",
            ]
        );
        assert_eq!(table(&before, &now, 1).last().map(String::as_str), Some("… and 2 more"));
    }
}
