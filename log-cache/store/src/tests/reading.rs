//! Pages as the log cache's clients know them.

use regex::Regex;
use weir_envelope::batch::Kind;
use weir_service::clock::Clock;

use super::{counter, decode, envelope, everything, gauge, ingest, log, read, small};
use crate::{Limits, ReadError, ReadQuery, Store};

fn times(store: &Store, query: &ReadQuery) -> Vec<i64> {
    read(store, query).iter().map(|envelope| envelope.timestamp).collect()
}

/// Two hundred rows at two hundred times, in a store that merges all the time.
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

/// Ascending gives the oldest of a range whose end is not part of it, descending the newest.
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

/// Lines of the same nanosecond stay together and in the order in which they came, however many there are.
#[test]
fn equal_timestamps_are_never_split() {
    let store = Store::new(Limits {
        max_per_source: 1000,
        ..small()
    });
    for number in 0..50 {
        ingest(&store, &[envelope("app", 7, log(format!("line {number}").as_bytes()))]);
    }
    ingest(
        &store,
        &[envelope("app", 6, log(b"before")), envelope("app", 8, log(b"after"))],
    );
    let bodies = |query: &ReadQuery| -> Vec<String> {
        let body = |envelope: weir_proto::loggregator_v2::Envelope| match envelope.message {
            Some(weir_proto::loggregator_v2::envelope::Message::Log(log)) => {
                String::from_utf8(log.payload.to_vec()).expect("text")
            }
            _ => panic!("a log"),
        };
        read(&store, query).into_iter().map(body).collect()
    };
    let run: Vec<String> = (0..50).map(|number| format!("line {number}")).collect();
    assert_eq!(
        bodies(&ReadQuery {
            start: 7,
            limit: 2,
            ..everything("app")
        }),
        run
    );
    let mut newest = bodies(&ReadQuery {
        limit: 2,
        descending: true,
        ..everything("app")
    });
    assert_eq!(newest.remove(0), "after");
    newest.reverse();
    assert_eq!(newest, run);
}

/// The name filter looks at counters, timers and metrics, and takes out of a gauge what does not match.
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

/// A page that would be too large is refused; but a run of equal timestamps that no limit could make smaller is cut.
#[test]
fn pages_have_a_size() {
    let store = filled();
    let query = ReadQuery {
        max_bytes: 100,
        ..everything("app")
    };
    assert_eq!(store.read(&query), Err(ReadError::TooLarge { max_bytes: 100 }));
    assert_eq!(
        decode(
            &store
                .read(&ReadQuery {
                    limit: 2,
                    ..query.clone()
                })
                .expect("fits")
        )
        .len(),
        2
    );
    let endless = Store::new(small());
    for _ in 0..10 {
        ingest(&endless, &[envelope("app", 7, log(&[b'x'; 40]))]);
    }
    assert_eq!(
        endless.read(&ReadQuery {
            limit: 2,
            ..query.clone()
        }),
        Err(ReadError::TooLarge { max_bytes: 100 })
    );
    assert_eq!(endless.read(&ReadQuery { limit: 1, ..query }).expect("cut").len, 1);
}

/// Sequence numbers count a source's envelopes of all kinds, from the time that it came up, in microseconds.
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
