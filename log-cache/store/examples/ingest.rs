//! Measures the CPU time and memory that the store takes for an envelope, and the duration of a read.
//!
//! Run it with `cargo run --release -p weir-log-cache-store --example ingest [ENVELOPES]`. The envelopes are logs of
//! 214 bytes with bodies of 100 bytes and 3 tags, of 1,000 sources at random, 100 in a batch.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a tool for people"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use prost::Message as _;
use weir_envelope::batch::Batch;
use weir_log_cache_store::{Limits, Maintainer, ReadQuery, Store};
use weir_proto::loggregator_v2 as v2;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let count: usize = std::env::args()
        .nth(1)
        .map_or(1_000_000, |count| count.parse().unwrap());
    let store = Store::new(Limits {
        logs_bytes: 4 << 30,
        ..Limits::default()
    });
    let maintainer = Maintainer::start(&store).unwrap();
    let before = resident();
    // Making the envelopes takes longer than storing them, so it is measured alone and subtracted.
    let mut size = 0;
    let making = cpu_nanos();
    for start in (0..count).step_by(100) {
        let message = batch(start);
        size = message.len() / 100;
        black_box(Batch::split(message.into()));
    }
    let making = cpu_nanos() - making;
    let both = cpu_nanos();
    for start in (0..count).step_by(100) {
        store.ingest(&Batch::split(batch(start).into()).batch, |_| ());
    }
    drop(maintainer);
    let store_cpu = (cpu_nanos() - both).saturating_sub(making);
    println!("envelopes             {count} of {size} bytes");
    println!(
        "store                 {} ns of CPU an envelope, all threads",
        store_cpu / count as u64
    );
    let stats = store.stats();
    println!("counted               {} bytes an envelope", stats.logs_bytes / count);
    println!(
        "resident              {} bytes an envelope",
        (resident() - before) / count
    );
    // The allocator returns freed memory after some time, and only while it is in use.
    let (maintainer, deadline) = (
        Maintainer::start(&store).unwrap(),
        Instant::now() + Duration::from_secs(3),
    );
    let mut more = count;
    while Instant::now() < deadline {
        store.ingest(&Batch::split(batch(more).into()).batch, |_| ());
        more += 100;
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(maintainer);
    println!(
        "resident after a rest {} bytes an envelope",
        (resident() - before) / more
    );
    let mut times: Vec<u128> = (0..1000)
        .map(|source| {
            let query = ReadQuery {
                source_id: source_id(source),
                start: i64::MIN,
                end: i64::MAX,
                limit: 1000,
                kinds: Vec::new(),
                descending: true,
                name_filter: None,
                max_bytes: 4 << 20,
            };
            let now = Instant::now();
            black_box(store.read(&query).unwrap());
            now.elapsed().as_micros()
        })
        .collect();
    times.sort_unstable();
    println!("read newest 1,000     p50 {} µs, p99 {} µs", times[500], times[990]);
    let now = Instant::now();
    println!(
        "meta of {:>5} sources {} µs",
        store.meta().len(),
        now.elapsed().as_micros()
    );
    println!("{stats:?}");
}

fn source_id(number: usize) -> String {
    format!("6f9d1c52-0000-4000-8000-{number:012}")
}

fn batch(start: usize) -> Vec<u8> {
    let mut random = start as u64;
    let envelopes = (start..start + 100).map(|number| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let source = (random >> 33) as usize % 1000;
        let tags = [("origin", "rep"), ("source_type", "APP/PROC/WEB"), ("job", "cell")];
        v2::Envelope {
            timestamp: 1_700_000_000_000_000_000 + number as i64 * 1000,
            source_id: source_id(source),
            instance_id: "0".to_owned(),
            tags: tags
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            message: Some(v2::envelope::Message::Log(v2::Log {
                payload: format!("{number:0>20} GET /api/v1/things {:.<61}", random)
                    .into_bytes()
                    .into(),
                r#type: 0,
            })),
            ..v2::Envelope::default()
        }
    });
    v2::EnvelopeBatch {
        batch: envelopes.collect(),
    }
    .encode_to_vec()
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Returns the CPU time of this process so far, in nanoseconds.
fn cpu_nanos() -> u64 {
    let schedstat: Vec<String> = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap())
        .collect();
    schedstat
        .iter()
        .map(|stat| stat.split(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}
