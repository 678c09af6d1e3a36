//! The tables of SQL.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::util::display::array_value_to_string;
use weir_envelope::batch::Kind;
use weir_proto::loggregator_v2::{self as v2, envelope::Message};
use weir_service::clock::Clock;

use super::{counter, envelope, gauge, ingest, log, small};
use crate::table::{Batches, Table};
use crate::{Limits, Rows, Store, TapEvent, TimeRange};

/// Returns some columns of all rows of a table.
fn select(store: &Store, table: Table, columns: &[&str]) -> RecordBatch {
    let schema = table.schema();
    let columns: Vec<usize> = columns
        .iter()
        .map(|column| schema.index_of(column).expect("a column"))
        .collect();
    let snapshot = store.snapshot(table.kind());
    let batches: Vec<RecordBatch> = snapshot
        .chunks()
        .iter()
        .flat_map(|chunk| {
            let selection = snapshot.select(chunk, |_| true, &TimeRange::ALL);
            let selection = table.restrict(chunk.rows(), selection);
            Batches::new(table, chunk.rows().clone(), selection, &columns)
        })
        .collect::<Result<_, _>>()
        .expect("batches");
    let schema = schema.project(&columns).expect("columns");
    concat_batches(&schema.into(), &batches).expect("one batch")
}

/// Returns the rows as text, sorted.
fn lines(batch: &RecordBatch) -> Vec<String> {
    let cell = |column: &arrow::array::ArrayRef, row| array_value_to_string(column, row).expect("printable");
    let mut lines: Vec<String> = (0..batch.num_rows())
        .map(|row| {
            batch
                .columns()
                .iter()
                .map(|column| cell(column, row))
                .collect::<Vec<_>>()
                .join(" | ")
        })
        .collect();
    lines.sort();
    lines
}

/// Every column of a log has its value, also for a body that is not UTF-8.
#[test]
fn logs_have_all_columns() {
    let (_hand, clock) = Clock::manual(0);
    let store = Store::with_clock(small(), clock);
    let mut odd = envelope(
        "app",
        2,
        Message::Log(v2::Log {
            payload: b"caf\xe9!".as_slice().into(),
            r#type: 1,
        }),
    );
    odd.tags.insert("source_type".to_owned(), "APP/PROC/WEB".to_owned());
    ingest(&store, &[envelope("app", 1, log("grüße".as_bytes())), odd]);
    let all: Vec<String> = Table::Logs
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    assert_eq!(
        all.join(","),
        "timestamp,source_id,instance_id,seq,tags,stream,source_type,body,body_bytes"
    );
    let batch = select(&store, Table::Logs, &all.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(
        lines(&batch),
        [
            "1970-01-01T00:00:00.000000001Z | app | 0 | 1 | {origin: test} | OUT |  | grüße | ",
            "1970-01-01T00:00:00.000000002Z | app | 0 | 2 | {origin: test, source_type: APP/PROC/WEB} | ERR | APP/PROC/WEB | caf\u{fffd}! | 636166e921",
        ]
    );
    assert!(batch.column(8).is_null(0) && batch.column(6).is_null(0));
}

/// A gauge has one row for each of its metrics.
#[test]
fn gauges_have_one_row_per_metric() {
    let (_hand, clock) = Clock::manual(0);
    let store = Store::with_clock(small(), clock);
    ingest(
        &store,
        &[
            envelope("app", 1, gauge(&[("cpu", "percentage", 0.5), ("memory", "bytes", 1e6)])),
            envelope("app", 2, gauge(&[])),
            envelope("app", 3, gauge(&[("cpu", "percentage", f64::NAN)])),
            envelope("b", 4, gauge(&[("a", "", -2.0), ("cpu", "percentage", 1.5)])),
        ],
    );
    let batch = select(&store, Table::Gauges, &["source_id", "seq", "name", "value", "unit"]);
    assert_eq!(
        lines(&batch),
        [
            "app | 1 | cpu | 0.5 | percentage",
            "app | 1 | memory | 1000000.0 | bytes",
            "app | 3 | cpu | NaN | percentage",
            "b | 1 | a | -2.0 | ",
            "b | 1 | cpu | 1.5 | percentage",
        ]
    );
}

/// Counters, timers and events have their columns, and reports of losses among the counters are also the table `drops`.
#[test]
fn counters_timers_events_and_drops_have_all_columns() {
    let store = Store::new(small());
    let mut drop = envelope("app", 3, counter(crate::table::DROPPED, 17));
    for (key, value) in [("component", "doppler"), ("hop", "egress"), ("reason", "slow_consumer")] {
        drop.tags.insert(key.to_owned(), value.to_owned());
    }
    ingest(
        &store,
        &[
            envelope("app", 1, counter("requests", 4)),
            drop,
            envelope(
                "app",
                4,
                Message::Timer(v2::Timer {
                    name: "http".to_owned(),
                    start: 10,
                    stop: 25,
                }),
            ),
            envelope(
                "app",
                5,
                Message::Event(v2::Event {
                    title: "crashed".to_owned(),
                    body: "exit 1".to_owned(),
                }),
            ),
            envelope(
                "app",
                6,
                Message::Event(v2::Event {
                    title: String::new(),
                    body: "no title".to_owned(),
                }),
            ),
        ],
    );
    assert_eq!(
        lines(&select(
            &store,
            Table::Drops,
            &["source_id", "component", "hop", "reason", "count"]
        )),
        ["app | doppler | egress | slow_consumer | 17",]
    );
    assert_eq!(
        lines(&select(&store, Table::Counters, &["name", "delta", "total"])),
        ["requests | 4 | 0", "weir.dropped | 17 | 0",]
    );
    assert_eq!(
        lines(&select(&store, Table::Timers, &["name", "start", "stop"])),
        ["http | 1970-01-01T00:00:00.000000010Z | 1970-01-01T00:00:00.000000025Z",]
    );
    assert_eq!(
        lines(&select(&store, Table::Events, &["title", "body"])),
        [" | no title", "crashed | exit 1"]
    );
}

/// A selection of single rows returns these rows, and the buffers contain no value of other rows.
#[test]
fn buffers_contain_only_selected_values() {
    let store = Store::new(Limits {
        active_rows: 64,
        ..small()
    });
    for time in 0..20 {
        ingest(
            &store,
            &[
                envelope("visible", time, log(b"mine")),
                envelope(
                    if time % 2 == 0 {
                        "a secret source"
                    } else {
                        "zzz secret source"
                    },
                    time,
                    log(b"hidden"),
                ),
            ],
        );
    }
    let snapshot = store.snapshot(Kind::Log);
    let columns: Vec<usize> = (0..Table::Logs.schema().fields().len()).collect();
    for chunk in snapshot.chunks() {
        let time = TimeRange { first: 12, last: 18 };
        let selection = snapshot.select(chunk, |source| source.id() == "visible", &time);
        for batch in Batches::new(Table::Logs, chunk.rows().clone(), selection, &columns) {
            let batch = batch.expect("a batch");
            assert_eq!(batch.num_rows(), 7);
            let sources = batch.column(1).as_string_view();
            assert!(sources.iter().all(|source| source == Some("visible")));
            let buffers = sources.data_buffers().iter();
            assert!(
                !buffers
                    .flat_map(|buffer| buffer.windows(6))
                    .any(|window| window == b"secret")
            );
        }
    }
}

/// Followers get new rows in the order of arrival, and the number of rows that they missed.
#[tokio::test]
async fn taps_deliver_new_rows() {
    let store = Store::new(small());
    ingest(&store, &[envelope("app", 1, log(b"before"))]);
    let mut tap = store.tap(Kind::Log, 2, Rows::len);
    for time in [9, 5, 7, 6, 8, 4] {
        ingest(
            &store,
            &[
                envelope("app", time, log(b"line")),
                envelope("app", time, counter("c", 1)),
            ],
        );
    }
    let mut seen = Vec::new();
    let mut missed = 0;
    ingest(&store, &[]);
    for _ in 0..2 {
        match tap.next().await.expect("open") {
            TapEvent::Rows(rows) => seen.extend(rows.timestamps().iter().copied()),
            TapEvent::Missed(rows) => missed += rows,
        }
    }
    assert_eq!((seen, missed), (vec![9], 4), "the queue holds two");
    drop(tap);
    ingest(&store, &[envelope("app", 10, log(b"nobody listens"))]);
}

/// A follower that may read one source learns how many rows of that source it missed, and nothing if it missed only
/// rows of others.
#[tokio::test]
async fn taps_count_only_missed_rows_of_visible_sources() {
    let store = Store::new(small());
    let mut tap = store.tap(Kind::Log, 1, |rows| {
        (0..rows.len())
            .filter(|row| rows.identity(*row).source().id() == "mine")
            .count()
    });
    let line = |source: &str, time| envelope(source, time, log(b"line"));
    let mut told = Vec::new();
    for (first, missed) in [
        (0, [line("other", 1), line("other", 2)]),
        (10, [line("mine", 11), line("other", 12)]),
        (20, [line("other", 21), line("other", 22)]),
    ] {
        ingest(&store, &[line("mine", first)]);
        ingest(&store, &missed);
        loop {
            match tap.next().await.expect("open") {
                TapEvent::Missed(rows) => told.push((first, rows)),
                TapEvent::Rows(rows) => break assert_eq!(rows.timestamps().to_vec(), [first]),
            }
        }
    }
    assert_eq!(told, [(10, 1)]);
}
