//! Budgets: the store stays within them, expires the right rows, and counts each of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_envelope::batch::Kind;

use super::{assert_consistent, counter, envelope, everything, ingest, log, read};
use crate::{Limits, MIN_BUDGET, Maintainer, ReadQuery, Store};

fn tight() -> Limits {
    Limits {
        logs_bytes: MIN_BUDGET,
        metrics_bytes: MIN_BUDGET,
        ..Limits::default()
    }
}

/// Ingests `count` lines of half a kilobyte, a hundred at a time.
fn flood(store: &Store, source: &str, count: i64) {
    let line = [b'x'; 500];
    for start in (0..count).step_by(100) {
        let envelopes: Vec<_> = (start..start + 100)
            .map(|time| envelope(source, time, log(&line)))
            .collect();
        ingest(store, &envelopes);
        let stats = store.stats();
        assert!(stats.logs_bytes <= MIN_BUDGET, "over budget: {stats:?}");
    }
}

/// A source that writes eight times the budget loses its own oldest rows, and neither those of quiet sources nor
/// metrics.
#[test]
fn quiet_sources_keep_their_rows() {
    let store = Store::new(tight());
    for time in 0..100 {
        for source in 0..20 {
            let source = format!("quiet-{source}");
            ingest(
                &store,
                &[
                    envelope(&source, time, log(b"a line")),
                    envelope(&source, time, counter("c", 1)),
                ],
            );
        }
    }
    flood(&store, "noisy", 100_000);
    assert_consistent(&store);
    for source in 0..20 {
        assert_eq!(read(&store, &everything(&format!("quiet-{source}"))).len(), 200);
    }
    let meta = store.meta();
    let noisy = meta.iter().find(|meta| meta.source_id == "noisy").expect("still there");
    assert_eq!(noisy.count + noisy.expired, 100_000);
    assert!(noisy.count > 5_000 && noisy.expired > 50_000, "{noisy:?}");
    assert_eq!(noisy.newest_timestamp, 99_999);
    assert_eq!(
        noisy.oldest_timestamp,
        i64::try_from(noisy.expired).expect("small"),
        "the oldest went"
    );
}

/// If no source stands out, the oldest rows expire, so a source that no longer writes does not stay for ever.
#[test]
fn among_equal_sources_the_oldest_rows_expire() {
    let store = Store::new(tight());
    for source in 0..200 {
        flood(&store, &format!("app-{source}"), 500);
    }
    assert_consistent(&store);
    let meta = store.meta();
    assert!(meta.iter().all(|meta| meta.source_id != "app-0"), "the first went");
    assert!(
        meta.iter().any(|meta| meta.source_id == "app-199" && meta.count == 500),
        "the last is complete"
    );
    assert!(meta.len() > 10);
}

/// The memory of tag sets counts, if every line has another one.
#[test]
fn tag_sets_count() {
    let store = Store::new(tight());
    for start in (0..40_000).step_by(100) {
        let envelopes: Vec<_> = (start..start + 100)
            .map(|time| {
                let tags = BTreeMap::from([("request_id".to_owned(), format!("{time:0>400}"))]);
                weir_proto::loggregator_v2::Envelope {
                    tags,
                    ..envelope("router", time, log(b"GET /"))
                }
            })
            .collect();
        ingest(&store, &envelopes);
        assert!(store.stats().logs_bytes <= MIN_BUDGET);
    }
    assert_consistent(&store);
    assert!(store.stats().expired > 20_000);
    let newest = read(
        &store,
        &ReadQuery {
            limit: 1,
            descending: true,
            ..everything("router")
        },
    );
    assert_eq!(newest[0].tags["request_id"], format!("{:0>400}", 39_999));
}

/// With more and more sources, the table of sources stays within its budget, and the latest sources are kept.
#[test]
fn sources_count() {
    let store = Store::new(Limits {
        sources_bytes: 256 << 10,
        ..tight()
    });
    let seq = |source: &str| {
        let snapshot = store.snapshot(Kind::Log);
        snapshot.chunks().iter().find_map(|chunk| {
            let rows = chunk.rows();
            (0..rows.len())
                .find(|row| rows.identity(*row).source().id() == source)
                .map(|row| rows.seqs()[row])
        })
    };
    let mut first = None;
    for number in 0..5_000 {
        ingest(&store, &[envelope(&format!("source-{number}"), number, log(b"hello"))]);
        assert!(store.stats().sources_bytes <= 257 << 10);
        first = first.or_else(|| seq("source-0"));
    }
    assert_consistent(&store);
    let stats = store.stats();
    assert!(stats.sources > 200 && stats.sources < 2_000, "{stats:?}");
    assert_eq!(read(&store, &everything("source-4999")).len(), 1);
    assert_eq!(read(&store, &everything("source-0")).len(), 0);
    // The source was forgotten, and its sequence numbers are not used again.
    ingest(&store, &[envelope("source-0", 1, log(b"back"))]);
    let again = seq("source-0");
    assert!(first.is_some() && again > first, "{first:?} {again:?}");
}

/// An envelope larger than the store accepts is refused with its source id, and the others of its batch are stored.
#[test]
fn envelopes_that_are_too_large_are_refused() {
    let store = Store::new(tight());
    let envelopes = [
        envelope("app", 1, log(&vec![b'x'; 300 << 10])),
        envelope("app", 2, log(b"small")),
    ];
    let mut refused = Vec::new();
    let done = store.ingest(&super::batch(&envelopes), |source| refused.push(source.to_owned()));
    assert_eq!((done.stored, refused), (1, vec!["app".to_owned()]));
    assert_eq!(read(&store, &everything("app")), envelopes[1..]);
}

/// With writers, readers and maintenance at the same time, every expired row is counted, and every page is in order.
#[test]
fn concurrent_writers_readers_and_maintenance_agree() {
    let store = Store::new(Limits {
        active_rows: 256,
        ..tight()
    });
    let maintainer = Maintainer::start(&store).expect("a thread");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || flood(store, &format!("writer-{writer}"), 20_000))
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for writer in 0..3 {
                    let query = ReadQuery {
                        limit: 500,
                        descending: true,
                        ..everything(&format!("writer-{writer}"))
                    };
                    let times: Vec<i64> = read(&store, &query).iter().map(|envelope| envelope.timestamp).collect();
                    assert!(
                        times.windows(2).all(|pair| pair[0] == pair[1] + 1),
                        "no gap in the newest"
                    );
                }
                assert!(store.meta().len() <= 3);
            }
        });
        for writer in writers {
            writer.join().expect("wrote");
        }
        done.store(true, Ordering::Relaxed);
    });
    drop(maintainer);
    assert_consistent(&store);
    assert_eq!(store.stats().ingested, 60_000);
}
