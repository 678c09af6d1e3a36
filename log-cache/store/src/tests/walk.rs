//! Walks as the log cache's clients do them: page by page, from the last timestamp on.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use weir_envelope::batch::Kind;
use weir_proto::loggregator_v2 as v2;

use super::{counter, envelope, everything, gauge, ingest, log, read, small};
use crate::{Limits, ReadQuery, Store};

/// How clients go on.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// go-log-cache's `Walk`: from `last + 1`.
    Ascending,
    /// Until `last`, exclusive.
    Descending,
    /// The cloud controller: until `last - 1`, exclusive.
    CloudController,
}

/// Everything that a walk finds, in the order of the pages.
fn walk(store: &Store, way: Way, limit: usize, kinds: &[Kind]) -> Vec<v2::Envelope> {
    let mut query = ReadQuery {
        limit,
        kinds: kinds.to_vec(),
        descending: !matches!(way, Way::Ascending),
        ..everything("app")
    };
    let mut found = Vec::new();
    loop {
        let page = read(store, &query);
        assert!(page.len() <= limit, "{} of {limit}", page.len());
        let Some(last) = page.last() else { return found };
        match way {
            Way::Ascending => query.start = last.timestamp + 1,
            Way::Descending => query.end = last.timestamp,
            Way::CloudController => query.end = last.timestamp - 1,
        }
        found.extend(page);
    }
}

/// How often each line or counter is there.
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

/// Thousands of envelopes of one time, of two times in turn, and of one that is long past: every page is within
/// its limit, and every walk finds all of them, each once, in the order of arrival.
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
        for (way, limit) in [
            (Way::Ascending, 1000),
            (Way::Ascending, 17),
            (Way::Descending, 1000),
            (Way::Descending, 13),
            (Way::CloudController, 100),
        ] {
            let found = walk(&store, way, limit, &[]);
            assert_eq!(found.len(), lines.len(), "{times:?} {way:?} by {limit}");
            assert_eq!(counted(&found), counted(&lines), "{times:?} {way:?} by {limit}");
        }
        let line = |envelope: &v2::Envelope| format!("{:?}", envelope.message);
        let in_order: Vec<String> = walk(&store, Way::Ascending, 100, &[]).iter().map(line).collect();
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

/// While a walk goes on, new envelopes of its nanosecond push out the oldest: whatever is still there when the walk
/// comes to it is found.
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
    // 100 were read before 50 more came, each time: the walk is always ahead of what expires.
    assert!(seen.into_iter().eq(0..1500));
}

fn arrivals() -> impl Strategy<Value = Vec<(i64, u8)>> {
    // Few timestamps and close to each other, so that they get into each other's way; late ones, and some from far away.
    let time =
        prop_oneof![12 => 0..6i64, 4 => 1000..1003i64, 1 => -50..50i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    vec((time, 0..3u8), 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any arrivals, any kinds wanted, any limit, whatever was sealed and merged meanwhile: each walk finds every envelope
    /// once.
    #[test]
    fn walks_lose_nothing(
        arrivals in arrivals(),
        limit in prop_oneof![1..4usize, 1..1001usize],
        wanted in prop::sample::select(vec![vec![], vec![Kind::Log], vec![Kind::Counter, Kind::Gauge]]),
        way in prop::sample::select(vec![Way::Ascending, Way::Descending]),
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
        let found = walk(&store, way, limit, &wanted);
        prop_assert_eq!(counted(&found), counted(&sent));
        let times: Vec<i64> = found.iter().map(|envelope| envelope.timestamp).collect();
        let distinct = times.windows(2).all(|pair| match way {
            Way::Ascending => pair[0] < pair[1],
            _ => pair[0] > pair[1],
        });
        prop_assert!(distinct, "{:?}", times);
    }
}
