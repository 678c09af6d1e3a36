//! Pages of the log cache's API.

use regex::Regex;
use weir_envelope::batch::Kind;
use weir_service::clock::Clock;

use super::{counter, decode, envelope, everything, gauge, ingest, log, read, small};
use crate::timestamps::MAX_TIMESTAMP;
use crate::{Limits, ReadError, ReadQuery, Store};

fn times(store: &Store, query: &ReadQuery) -> Vec<i64> {
    read(store, query).iter().map(|envelope| envelope.timestamp).collect()
}

/// Returns a store with two hundred rows at two hundred times, which merges its chunks often.
fn filled() -> Store {
    let store = Store::new(Limits {
        max_per_source: 1000,
        ..small()
    });
    for time in 0..200 {
        ingest(
            &store,
            &[
                envelope("app", time, log(b"line")),
                envelope("other", time, log(b"not mine")),
            ],
        );
    }
    store
}

/// Ascending pages have the oldest envelopes of a range without its end, and descending pages the newest.
#[test]
fn ranges_and_limits() {
    let store = filled();
    let query = ReadQuery {
        start: 10,
        end: 20,
        limit: 3,
        ..everything("app")
    };
    assert_eq!(times(&store, &query), [10, 11, 12]);
    assert_eq!(
        times(
            &store,
            &ReadQuery {
                descending: true,
                ..query.clone()
            }
        ),
        [19, 18, 17]
    );
    assert_eq!(times(&store, &ReadQuery { limit: 1000, ..query }).len(), 10);
    assert_eq!(times(&store, &everything("app")).len(), 200);
    assert_eq!(times(&store, &everything("nobody")), [0i64; 0]);
}

/// Lines of one nanosecond are returned in the order of arrival, two nanoseconds apart, however many they are. A line
/// whose timestamp lies among them comes after them.
#[test]
fn equal_timestamps_are_moved_apart() {
    let store = Store::new(Limits {
        max_per_source: 1000,
        ..small()
    });
    for _ in 0..50 {
        ingest(&store, &[envelope("app", 7, log(b"line"))]);
    }
    ingest(
        &store,
        &[
            envelope("app", 6, log(b"before")),
            envelope("app", 8, log(b"within")),
            envelope("app", 200, log(b"after")),
            envelope("other", 7, log(b"alone")),
        ],
    );
    let expected: Vec<i64> = std::iter::once(6)
        .chain((0..51).map(|number| 7 + number * 2))
        .chain([200])
        .collect();
    assert_eq!(times(&store, &everything("app")), expected);
    assert_eq!(times(&store, &everything("other")), [7]);
    let page = ReadQuery {
        start: 7,
        limit: 2,
        ..everything("app")
    };
    assert_eq!(times(&store, &page), [7, 9]);
    let newest = ReadQuery {
        limit: 3,
        descending: true,
        ..everything("app")
    };
    assert_eq!(times(&store, &newest), [200, 107, 105]);
}

/// The greatest timestamp is stored some minutes earlier, so that there is room behind it. The smallest is stored
/// unchanged.
#[test]
fn the_greatest_timestamps_are_moved_apart() {
    let store = Store::new(small());
    for time in [i64::MAX, i64::MIN, i64::MAX, i64::MIN, i64::MAX - 1] {
        ingest(&store, &[envelope("app", time, log(b"line"))]);
    }
    let expected = [
        i64::MIN,
        i64::MIN + 2,
        MAX_TIMESTAMP,
        MAX_TIMESTAMP + 2,
        MAX_TIMESTAMP + 4,
    ];
    assert_eq!(times(&store, &everything("app")), expected);
    for after in [0, 0, 0, 0, 6] {
        ingest(&store, &[envelope("first", i64::MIN + after, log(b"line"))]);
    }
    let expected = [0, 2, 4, 6, 8].map(|after| i64::MIN + after);
    assert_eq!(times(&store, &everything("first")), expected);
}

/// The name filter applies to counters, timers and metrics of gauges, and removes the metrics that do not match.
#[test]
fn names_are_filtered() {
    let store = Store::new(small());
    let metrics = gauge(&[
        ("cpu", "percentage", 0.5),
        ("memory", "bytes", 1e6),
        ("cpu_entitlement", "", 3.0),
    ]);
    ingest(
        &store,
        &[
            envelope("app", 1, log(b"cpu")),
            envelope("app", 2, counter("cpu", 1)),
            envelope("app", 3, counter("disk", 1)),
            envelope("app", 4, metrics),
        ],
    );
    let query = ReadQuery {
        name_filter: Some(Regex::new("^cpu").expect("valid")),
        ..everything("app")
    };
    let found = read(&store, &query);
    assert_eq!(
        found,
        [
            envelope("app", 2, counter("cpu", 1)),
            envelope(
                "app",
                4,
                gauge(&[("cpu", "percentage", 0.5), ("cpu_entitlement", "", 3.0)])
            ),
        ]
    );
    assert_eq!(
        read(
            &store,
            &ReadQuery {
                kinds: vec![Kind::Log],
                ..query
            }
        ),
        []
    );
}

/// A page that would be too large is refused, unless it has only one envelope, which no smaller limit could return.
#[test]
fn pages_that_are_too_large_are_refused() {
    let store = filled();
    let query = ReadQuery {
        max_bytes: 100,
        ..everything("app")
    };
    assert_eq!(store.read(&query), Err(ReadError::TooLarge { max_bytes: 100 }));
    let len = |limit, max_bytes| {
        let page = store.read(&ReadQuery {
            limit,
            max_bytes,
            ..query.clone()
        });
        decode(&page.expect("fits")).len()
    };
    assert_eq!(len(2, 100), 2);
    assert_eq!(len(1, 10), 1);
}

/// Sequence numbers count a source's envelopes of all kinds, and start with the microsecond in which it appeared.
#[test]
fn sequence_numbers_go_across_kinds() {
    let (_hand, clock) = Clock::manual(1_000_000);
    let store = Store::with_clock(small(), clock);
    ingest(
        &store,
        &[
            envelope("app", 5, log(b"one")),
            envelope("app", 4, counter("two", 1)),
            envelope("other", 4, log(b"one of another")),
            envelope("app", 3, log(b"three")),
        ],
    );
    let seqs = |kind| -> Vec<(String, u64)> {
        let snapshot = store.snapshot(kind);
        let rows = snapshot.chunks().iter().flat_map(|chunk| {
            let rows = std::sync::Arc::clone(chunk.rows());
            (0..rows.len()).map(move |row| (rows.identity(row).source().id().to_owned(), rows.seqs()[row]))
        });
        rows.collect()
    };
    let named = |rows: &[(&str, u64)]| {
        rows.iter()
            .map(|(id, seq)| ((*id).to_owned(), *seq))
            .collect::<Vec<_>>()
    };
    assert_eq!(seqs(Kind::Log), named(&[("app", 1003), ("app", 1001), ("other", 1001)]));
    assert_eq!(seqs(Kind::Counter), named(&[("app", 1002)]));
}
