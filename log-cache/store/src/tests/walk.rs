//! Reading page by page, as the clients of the log cache do it.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use weir_envelope::batch::Kind;
use weir_proto::loggregator_v2 as v2;

use super::{counter, envelope, everything, gauge, ingest, log, read, small};
use crate::{Limits, ReadQuery, Store};

/// How a client continues after a page.
#[derive(Debug, Clone, Copy)]
enum WalkStyle {
    /// As `Walk` of go-log-cache: from `last + 1`.
    Ascending,
    /// Towards the oldest, up to and without `last`.
    Descending,
    /// As the cloud controller: towards the oldest, up to and without `last - 1`.
    CloudController,
}

/// Returns the envelopes of all pages, in order.
fn walk(store: &Store, style: WalkStyle, limit: usize, kinds: &[Kind]) -> Vec<v2::Envelope> {
    let mut query = ReadQuery {
        limit,
        kinds: kinds.to_vec(),
        descending: !matches!(style, WalkStyle::Ascending),
        ..everything("app")
    };
    let mut found = Vec::new();
    loop {
        let page = read(store, &query);
        assert!(page.len() <= limit, "{} of {limit}", page.len());
        let Some(last) = page.last() else { return found };
        match style {
            WalkStyle::Ascending => query.start = last.timestamp + 1,
            WalkStyle::Descending => query.end = last.timestamp,
            WalkStyle::CloudController => query.end = last.timestamp - 1,
        }
        found.extend(page);
    }
}

/// Returns how often each line or counter occurs.
fn counted(found: &[v2::Envelope]) -> BTreeMap<String, usize> {
    let mut counted = BTreeMap::new();
    for envelope in found {
        *counted.entry(format!("{:?}", envelope.message)).or_default() += 1;
    }
    counted
}

fn roomy() -> Limits {
    Limits {
        max_per_source: 1_000_000,
        ..small()
    }
}

/// Thousands of envelopes have one timestamp, two timestamps in turn, or one that is long past. Every page is within
/// its limit, and every walk returns each envelope once, in the order of arrival.
#[test]
fn a_walk_through_one_nanosecond() {
    for times in [&[0][..], &[5_000, 4_000], &[7, 7, 1_000_000]] {
        let store = Store::new(Limits {
            active_rows: 256,
            chunk_rows: 1024,
            ..roomy()
        });
        let lines: Vec<v2::Envelope> = (0..6_000)
            .map(|number| {
                let line = number.to_string();
                envelope("app", times[number % times.len()], log(line.as_bytes()))
            })
            .collect();
        lines.chunks(500).for_each(|lines| ingest(&store, lines));
        for (style, limit) in [
            (WalkStyle::Ascending, 1000),
            (WalkStyle::Ascending, 17),
            (WalkStyle::Descending, 1000),
            (WalkStyle::Descending, 13),
            (WalkStyle::CloudController, 100),
        ] {
            let found = walk(&store, style, limit, &[]);
            assert_eq!(found.len(), lines.len(), "{times:?} {style:?} by {limit}");
            assert_eq!(counted(&found), counted(&lines), "{times:?} {style:?} by {limit}");
        }
        let line = |envelope: &v2::Envelope| format!("{:?}", envelope.message);
        let in_order: Vec<String> = walk(&store, WalkStyle::Ascending, 100, &[]).iter().map(line).collect();
        for offset in 0..times.len() {
            let of_one_time = |position: &usize| position % times.len() == offset;
            let arrived: Vec<String> = (0..lines.len())
                .filter(of_one_time)
                .map(|at| line(&lines[at]))
                .collect();
            let wanted: std::collections::BTreeSet<&String> = arrived.iter().collect();
            let found: Vec<&String> = in_order.iter().filter(|line| wanted.contains(line)).collect();
            assert!(found.iter().copied().eq(&arrived), "{times:?}: out of order");
        }
    }
}

/// During a walk, new envelopes of its nanosecond make the oldest ones expire. Every envelope that is visible when the
/// walk reaches it is returned.
#[test]
fn a_walk_while_rows_expire() {
    let store = Store::new(Limits {
        max_per_source: 1000,
        ..roomy()
    });
    let send = |numbers: std::ops::Range<u32>| {
        let lines: Vec<v2::Envelope> = numbers
            .map(|number| envelope("app", 0, log(number.to_string().as_bytes())))
            .collect();
        ingest(&store, &lines);
    };
    send(0..1000);
    let mut query = ReadQuery {
        limit: 100,
        ..everything("app")
    };
    let mut seen: Vec<u32> = Vec::new();
    for round in 0..20 {
        let page = read(&store, &query);
        for envelope in &page {
            let Some(v2::envelope::Message::Log(log)) = &envelope.message else {
                panic!("a log")
            };
            seen.push(String::from_utf8_lossy(&log.payload).parse().expect("a number"));
        }
        query.start = page.last().expect("more").timestamp + 1;
        if round < 10 {
            send(1000 + round * 50..1050 + round * 50);
        }
        if seen.last() == Some(&1499) {
            break;
        }
    }
    // Each page has 100 envelopes and 50 more arrive after it, so the walk stays ahead of expiry.
    assert!(seen.into_iter().eq(0..1500));
}

fn arrivals() -> impl Strategy<Value = Vec<(i64, u8)>> {
    // Few timestamps that are close to each other, so that they collide, and some that are late or distant.
    let time =
        prop_oneof![12 => 0..6i64, 4 => 1000..1003i64, 1 => -50..50i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    vec((time, 0..3u8), 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// For any arrivals, wanted kinds and limits, with chunks sealed and merged meanwhile, each walk returns every
    /// envelope once.
    #[test]
    fn walks_return_every_envelope_once(
        arrivals in arrivals(),
        limit in prop_oneof![1..4usize, 1..1001usize],
        wanted in prop::sample::select(vec![vec![], vec![Kind::Log], vec![Kind::Counter, Kind::Gauge]]),
        style in prop::sample::select(vec![WalkStyle::Ascending, WalkStyle::Descending]),
    ) {
        let store = Store::new(roomy());
        let mut sent = Vec::new();
        for (number, (time, kind)) in (0u32..).zip(arrivals) {
            let name = number.to_string();
            let (kind, message) = match kind {
                0 => (Kind::Log, log(name.as_bytes())),
                1 => (Kind::Counter, counter(&name, 1)),
                _ => (Kind::Gauge, gauge(&[(&name, "", 0.5)])),
            };
            let envelope = envelope("app", time, message);
            ingest(&store, std::slice::from_ref(&envelope));
            if wanted.is_empty() || wanted.contains(&kind) {
                sent.push(envelope);
            }
            if number % 50 == 49 {
                store.maintain();
            }
        }
        let found = walk(&store, style, limit, &wanted);
        prop_assert_eq!(counted(&found), counted(&sent));
        let times: Vec<i64> = found.iter().map(|envelope| envelope.timestamp).collect();
        let distinct = times.windows(2).all(|pair| match style {
            WalkStyle::Ascending => pair[0] < pair[1],
            _ => pair[0] > pair[1],
        });
        prop_assert!(distinct, "{:?}", times);
    }
}
