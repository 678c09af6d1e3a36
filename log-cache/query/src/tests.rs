//! Tests of queries over a store.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::util::pretty::pretty_format_batches;
use prost::Message as _;
use weir_envelope::batch::Batch;
use weir_log_cache_store::{Limits, Store, Visibility};
use weir_proto::loggregator_v2::{self as v2, envelope::Message};
use weir_service::clock::Clock;

use crate::{Answer, Engine, EngineLimits, Query, QueryError};

mod drain_status;
mod formats;
mod generated;
mod hostile;
mod live;
mod plans;
mod queries;
mod router_requests;
mod semantics;
mod sizes;
mod visibility;

fn log(source: &str, timestamp: i64, body: &str) -> v2::Envelope {
    let payload = body.as_bytes().to_vec().into();
    envelope(
        source,
        timestamp,
        Message::Log(v2::Log {
            payload,
            r#type: i32::from(body.contains("error")),
        }),
    )
}

fn counter(source: &str, timestamp: i64, name: &str, delta: u64) -> v2::Envelope {
    envelope(
        source,
        timestamp,
        Message::Counter(v2::Counter {
            name: name.to_owned(),
            delta,
            total: delta * 10,
        }),
    )
}

fn envelope(source: &str, timestamp: i64, message: Message) -> v2::Envelope {
    let tags = [
        ("app_name", format!("{source}-name")),
        ("source_type", "APP/PROC/WEB".to_owned()),
    ];
    v2::Envelope {
        timestamp,
        source_id: source.to_owned(),
        instance_id: "0".to_owned(),
        tags: tags
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect::<BTreeMap<_, _>>(),
        message: Some(message),
        ..v2::Envelope::default()
    }
}

fn ingest(store: &Store, envelopes: Vec<v2::Envelope>) {
    for envelopes in envelopes.chunks(100) {
        let message = v2::EnvelopeBatch {
            batch: envelopes.to_vec(),
        }
        .encode_to_vec();
        store.ingest(&Batch::split(message.into()).batch, |_| ());
    }
}

/// Returns a store with three apps of a hundred interleaved lines each, every tenth of them an error, and a counter.
fn filled() -> Store {
    filled_with(&["app-a", "app-b", "app-c"])
}

/// Returns the store of [`filled`] with the envelopes of some apps only.
fn filled_with(shown: &[&str]) -> Store {
    let limits = Limits {
        active_rows: 32,
        chunk_rows: 64,
        ..Limits::default()
    };
    // With a clock that stands still in 1970, `seq` starts at one.
    let (_, clock) = Clock::manual(0);
    let store = Store::with_clock(limits, clock);
    let apps = ["app-a", "app-b", "app-c"];
    let lines = (0..300i64).filter_map(|number| {
        let app = apps[usize::try_from(number % 3).expect("small")];
        let level = if number % 10 == 0 { "error" } else { "info" };
        shown
            .contains(&app)
            .then(|| log(app, number, &format!("{level}: line {number} of {app}")))
    });
    ingest(&store, lines.collect());
    ingest(
        &store,
        (0..30).map(|number| counter("app-a", number, "requests", 1)).collect(),
    );
    store
}

fn engine(store: &Store) -> Engine {
    let limits = EngineLimits {
        memory: 64 << 20,
        threads: 2,
        ..EngineLimits::default()
    };
    Engine::new(store.clone(), limits).expect("an engine")
}

fn query(sql: &str) -> Query {
    Query {
        sql: sql.to_owned(),
        caller: "somebody".to_owned(),
        visibility: Visibility::All,
        timeout: Some(Duration::from_secs(60)),
        max_rows: None,
    }
}

/// Returns a query of a caller with the given visibility.
fn seen_by(visibility: &Visibility, sql: &str) -> Query {
    Query {
        visibility: visibility.clone(),
        ..query(sql)
    }
}

async fn ask(engine: &Engine, sql: &str) -> Result<Answer, QueryError> {
    engine.query(query(sql)).await
}

/// Returns the answer as lines of cells, without the frame.
async fn rows(engine: &Engine, sql: &str) -> Vec<String> {
    cells(&ask(engine, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}")))
}

fn cells(answer: &Answer) -> Vec<String> {
    let table = pretty_format_batches(&answer.batches).expect("printable").to_string();
    let lines = table.lines().skip(3).filter(|line| line.starts_with('|'));
    lines
        .map(|line| {
            line.trim_matches(['|', ' '])
                .split('|')
                .map(str::trim)
                .collect::<Vec<_>>()
                .join(" | ")
        })
        .collect()
}
