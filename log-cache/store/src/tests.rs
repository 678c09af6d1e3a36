//! Tests of the whole store: against a naive model, its budgets, and its tables.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use weir_envelope::batch::Batch;
use weir_proto::loggregator_v2::{self as v2, envelope::Message};

use crate::{Limits, Page, ReadQuery, Store};

mod budget;
mod model;
mod reading;
mod tables;
mod walk;

/// Limits with which a few dozen rows fill several chunks.
fn small() -> Limits {
    Limits {
        active_rows: 4,
        chunk_rows: 16,
        max_per_source: 10,
        ..Limits::default()
    }
}

fn envelope(source: &str, timestamp: i64, message: Message) -> v2::Envelope {
    v2::Envelope {
        timestamp,
        source_id: source.to_owned(),
        instance_id: "0".to_owned(),
        tags: BTreeMap::from([("origin".to_owned(), "test".to_owned())]),
        message: Some(message),
        ..v2::Envelope::default()
    }
}

fn log(payload: &[u8]) -> Message {
    Message::Log(v2::Log {
        payload: Bytes::copy_from_slice(payload),
        r#type: 0,
    })
}

fn counter(name: &str, delta: u64) -> Message {
    Message::Counter(v2::Counter {
        name: name.to_owned(),
        delta,
        total: 0,
    })
}

fn gauge(metrics: &[(&str, &str, f64)]) -> Message {
    let metrics = metrics.iter().map(|(name, unit, value)| {
        (
            (*name).to_owned(),
            v2::GaugeValue {
                unit: (*unit).to_owned(),
                value: *value,
            },
        )
    });
    Message::Gauge(v2::Gauge {
        metrics: metrics.collect(),
    })
}

fn batch(envelopes: &[v2::Envelope]) -> Batch {
    let message = v2::EnvelopeBatch {
        batch: envelopes.to_vec(),
    }
    .encode_to_vec();
    let split = Batch::split(message.into());
    assert!(split.rejected.is_empty() && split.broken.is_none(), "well formed");
    split.batch
}

fn ingest(store: &Store, envelopes: &[v2::Envelope]) {
    let done = store.ingest(&batch(envelopes), |source| panic!("refused an envelope of {source}"));
    assert_eq!(done.stored, envelopes.len() as u64);
}

fn everything(source: &str) -> ReadQuery {
    ReadQuery {
        source_id: source.to_owned(),
        start: i64::MIN,
        end: i64::MAX,
        limit: usize::MAX,
        kinds: Vec::new(),
        descending: false,
        name_filter: None,
        max_bytes: usize::MAX / 2,
    }
}

fn decode(page: &Page) -> Vec<v2::Envelope> {
    let batch = v2::EnvelopeBatch::decode(page.batch.as_slice())
        .expect("a page is an EnvelopeBatch")
        .batch;
    assert_eq!(batch.len(), page.len);
    batch
}

fn read(store: &Store, query: &ReadQuery) -> Vec<v2::Envelope> {
    decode(&store.read(query).expect("fits"))
}

/// Asserts the invariants of a store to which nobody is writing.
fn assert_consistent(store: &Store) {
    let stats = store.stats();
    assert_eq!(
        stats.ingested - stats.expired,
        stats.held,
        "what was taken is there or was counted: {stats:?}"
    );
    let meta = store.meta();
    assert_eq!(meta.iter().map(|meta| meta.count).sum::<u64>(), stats.held);
    let limits = store.limits();
    assert!(
        stats.logs_bytes <= limits.logs_bytes.max(crate::MIN_BUDGET),
        "{stats:?}"
    );
    assert!(
        stats.metrics_bytes <= limits.metrics_bytes.max(crate::MIN_BUDGET),
        "{stats:?}"
    );
}
