//! Measures queries over a million log lines of 1,000 sources.
//!
//! Run it with `cargo run --release -p weir-log-cache-query --example sql`. For each query it prints the median and the
//! slowest of several runs in milliseconds of wall time: as an administrator, and as a caller that may read all 1,000
//! sources by name. The third figure is what the row filter adds to the median. The two kinds of run alternate, so that
//! other load on the machine affects both.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for people")]

use std::time::Instant;

use prost::Message as _;
use weir_envelope::batch::Batch;
use weir_log_cache_query::{Engine, EngineLimits, Query};
use weir_log_cache_store::{Limits, Store, Visibility};
use weir_proto::loggregator_v2 as v2;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LINES: i64 = 1_000_000;
const SOURCES: u64 = 1000;
const RUNS: usize = 41;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let store = Store::new(Limits {
        logs_bytes: 1 << 30,
        ..Limits::default()
    });
    for start in (0..LINES).step_by(1000) {
        store.ingest(&batch(start), |_| ());
    }
    let by_name = Visibility::sources((0..SOURCES).map(source_id));
    let engine = Engine::new(store, EngineLimits::default()).unwrap();
    println!("     all  slowest by name  slowest   filter");
    for sql in [
        "select count(*) from logs",
        "select source_id, count(*) from logs group by source_id",
        "select source_id, count(*) from logs group by source_id order by 2 desc limit 10",
        "select count(*) from logs where body ~ 'GET /api/v[12]/things.*7{3}'",
        "select count(*) from logs where body like '%777%'",
        "select * from logs where source_id = '6f9d1c52-0000-4000-8000-000000000007' order by timestamp desc limit 1000",
        "select timestamp, body from logs order by timestamp desc limit 1000",
        "select stream, count(*) from logs where tags['job'] = 'cell' group by stream",
        "select date_bin(interval '1 second', timestamp) as t, count(*) from logs group by t order by t",
    ] {
        let mut times = [const { Vec::new() }; 2];
        for _ in 0..RUNS {
            for (times, visibility) in times.iter_mut().zip([&Visibility::All, &by_name]) {
                let query = Query {
                    sql: sql.to_owned(),
                    caller: "bench".to_owned(),
                    visibility: visibility.clone(),
                    timeout: None,
                    max_rows: None,
                };
                let started = Instant::now();
                engine.query(query).await.unwrap();
                times.push(started.elapsed().as_secs_f64() * 1000.0);
            }
        }
        for times in &mut times {
            times.sort_by(f64::total_cmp);
        }
        let [all, filtered] = times.map(|times| (times[RUNS / 2], times[RUNS - 1]));
        println!(
            "{:8.2} {:8.2} {:8.2} {:8.2} {:+6.1} %  {sql}",
            all.0,
            all.1,
            filtered.0,
            filtered.1,
            (filtered.0 / all.0 - 1.0) * 100.0
        );
    }
}

fn source_id(number: u64) -> String {
    format!("6f9d1c52-0000-4000-8000-{number:012}")
}

fn batch(start: i64) -> Batch {
    let mut random = start.cast_unsigned();
    let envelopes = (start..start + 1000).map(|number| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let tags = [("origin", "rep"), ("source_type", "APP/PROC/WEB"), ("job", "cell")];
        v2::Envelope {
            timestamp: 1_700_000_000_000_000_000 + number * 10_000,
            source_id: source_id((random >> 33) % SOURCES),
            instance_id: "0".to_owned(),
            tags: tags
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            message: Some(v2::envelope::Message::Log(v2::Log {
                payload: format!("{number:0>20} GET /api/v1/things {random:.<61}")
                    .into_bytes()
                    .into(),
                r#type: i32::from(number % 10 == 0),
            })),
            ..v2::Envelope::default()
        }
    });
    let message = v2::EnvelopeBatch {
        batch: envelopes.collect(),
    }
    .encode_to_vec();
    Batch::split(message.into()).batch
}
