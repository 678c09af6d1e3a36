//! Compares the store with a naive model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use regex::Regex;
use weir_envelope::batch::Kind;
use weir_proto::loggregator_v2::{self as v2, envelope::Message, value::Data};
use weir_service::clock::Clock;

use super::{assert_consistent, batch, read, small};
use crate::timestamps::{MAX_TIMESTAMP, STEP};
use crate::{ReadQuery, SourceMeta, Store};

const SOURCES: [&str; 3] = ["app", "b", ""];

/// A model that keeps all envelopes in a list and sorts them for each read.
#[derive(Debug, Default)]
struct Model {
    /// The envelopes by source, in the order of arrival.
    sources: BTreeMap<String, Vec<v2::Envelope>>,
}

/// Returns the timestamp of each row by source and sequence number, and asserts that they are unique within a source.
fn timestamps(store: &Store) -> BTreeMap<(String, u64), i64> {
    let mut found = BTreeMap::new();
    let mut taken = BTreeSet::new();
    for kind in Kind::ALL {
        let snapshot = store.snapshot(kind);
        for chunk in snapshot.chunks() {
            let rows = chunk.rows();
            for row in 0..rows.len() {
                let source = rows.identity(row).source().id().to_owned();
                let timestamp = rows.timestamps()[row];
                assert!(
                    taken.insert((source.clone(), timestamp)),
                    "{source:?} has {timestamp} twice"
                );
                found.insert((source, rows.seqs()[row]), timestamp);
            }
        }
    }
    found
}

fn kind_of(envelope: &v2::Envelope) -> Kind {
    match envelope.message {
        Some(Message::Log(_)) => Kind::Log,
        Some(Message::Counter(_)) => Kind::Counter,
        Some(Message::Gauge(_)) => Kind::Gauge,
        Some(Message::Timer(_)) => Kind::Timer,
        Some(Message::Event(_)) => Kind::Event,
        None => Kind::None,
    }
}

impl Model {
    /// Adds an envelope that the store has at `timestamp`. The model does not compute that timestamp, but checks it.
    fn push(&mut self, mut envelope: v2::Envelope, timestamp: i64) {
        let all = self.sources.entry(envelope.source_id.clone()).or_default();
        let wanted = envelope.timestamp.min(MAX_TIMESTAMP);
        let room = i64::try_from(all.len()).expect("small") * 4 * STEP;
        assert!(
            (wanted..=wanted + room).contains(&timestamp),
            "{wanted} became {timestamp}"
        );
        envelope.timestamp = timestamp;
        all.push(envelope);
    }

    /// Returns the envelopes of each kind that arrived last, in the order of arrival.
    fn visible(&self, source: &str, max: usize) -> Vec<&v2::Envelope> {
        let all = self.sources.get(source).map(Vec::as_slice).unwrap_or_default();
        let mut left = BTreeMap::new();
        let mut visible: Vec<&v2::Envelope> = Vec::new();
        for envelope in all.iter().rev() {
            let left = left.entry(kind_of(envelope)).or_insert(max);
            if *left > 0 {
                *left -= 1;
                visible.push(envelope);
            }
        }
        visible.reverse();
        visible
    }

    fn read(&self, query: &ReadQuery, max: usize) -> Vec<v2::Envelope> {
        let mut found: Vec<v2::Envelope> = self
            .visible(&query.source_id, max)
            .into_iter()
            .filter(|envelope| (query.start..query.end).contains(&envelope.timestamp))
            .filter(|envelope| query.kinds.is_empty() || query.kinds.contains(&kind_of(envelope)))
            .filter_map(|envelope| match &query.name_filter {
                Some(filter) => filtered(envelope.clone(), filter),
                None => Some(envelope.clone()),
            })
            .collect();
        found.sort_by_key(|envelope| envelope.timestamp);
        if query.descending {
            found.reverse();
        }
        found.truncate(query.limit);
        found
    }

    fn meta(&self, max: usize) -> Vec<SourceMeta> {
        self.sources
            .iter()
            .map(|(source, all)| {
                let visible = self.visible(source, max);
                SourceMeta {
                    source_id: source.clone(),
                    count: visible.len() as u64,
                    expired: (all.len() - visible.len()) as u64,
                    oldest_timestamp: visible.iter().map(|envelope| envelope.timestamp).min().unwrap_or(0),
                    newest_timestamp: visible.iter().map(|envelope| envelope.timestamp).max().unwrap_or(0),
                }
            })
            .collect()
    }
}

fn filtered(mut envelope: v2::Envelope, filter: &Regex) -> Option<v2::Envelope> {
    let shown = match envelope.message.as_mut()? {
        Message::Counter(counter) => filter.is_match(&counter.name),
        Message::Timer(timer) => filter.is_match(&timer.name),
        Message::Gauge(gauge) => {
            gauge.metrics.retain(|name, _| filter.is_match(name));
            !gauge.metrics.is_empty()
        }
        Message::Log(_) | Message::Event(_) => false,
    };
    shown.then_some(envelope)
}

#[derive(Debug, Clone)]
enum Step {
    Ingest(Vec<v2::Envelope>),
    Read(ReadQuery),
    Maintain,
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["", "cpu", "cpu.user", "memory", "requests"]).prop_map(str::to_owned)
}

fn message() -> impl Strategy<Value = Option<Message>> {
    prop_oneof![
        4 => (vec(any::<u8>(), 0..8), 0..2).prop_map(|(payload, stream)| Some(Message::Log(v2::Log {
            payload: payload.into(),
            r#type: stream,
        }))),
        2 => (name(), any::<u64>(), any::<u64>())
            .prop_map(|(name, delta, total)| Some(Message::Counter(v2::Counter { name, delta, total }))),
        2 => vec((name(), name(), -1e9..1e9f64), 0..4).prop_map(|metrics| {
            let value = |(name, unit, value)| (name, v2::GaugeValue { unit, value });
            Some(Message::Gauge(v2::Gauge { metrics: metrics.into_iter().map(value).collect() }))
        }),
        1 => (name(), any::<i64>(), any::<i64>())
            .prop_map(|(name, start, stop)| Some(Message::Timer(v2::Timer { name, start, stop }))),
        1 => (name(), ".{0,4}").prop_map(|(title, body)| Some(Message::Event(v2::Event { title, body }))),
        1 => Just(None),
    ]
}

fn data() -> impl Strategy<Value = v2::Value> {
    let data = prop_oneof![
        Just(None),
        name().prop_map(|text| Some(Data::Text(text))),
        any::<i64>().prop_map(|integer| Some(Data::Integer(integer))),
        (-1e3..1e3f64).prop_map(|decimal| Some(Data::Decimal(decimal))),
    ];
    data.prop_map(|data| v2::Value { data })
}

fn envelope() -> impl Strategy<Value = v2::Envelope> {
    let tags = prop::collection::btree_map(name(), name(), 0..3);
    let deprecated_tags = prop::collection::btree_map(name(), data(), 0..2);
    // Few timestamps, so that many are equal, and sometimes a distant one.
    let time = prop_oneof![20 => -5..15i64, 1 => Just(i64::MIN), 1 => Just(i64::MAX - 1)];
    (
        time,
        prop::sample::select(&SOURCES[..]),
        name(),
        tags,
        deprecated_tags,
        message(),
    )
        .prop_map(
            |(timestamp, source, instance_id, tags, deprecated_tags, message)| v2::Envelope {
                timestamp,
                source_id: source.to_owned(),
                instance_id,
                tags,
                deprecated_tags,
                message,
            },
        )
}

fn query() -> impl Strategy<Value = ReadQuery> {
    let time = || prop_oneof![Just(i64::MIN), Just(i64::MAX), -6..16i64];
    let kinds = vec(prop::sample::select(&Kind::ALL[..]), 0..3);
    let filter = prop::option::weighted(0.3, prop::sample::select(vec!["cpu", "^m", "s$", "", "nothing"]));
    let source = prop::sample::select(vec!["app", "b", "", "unknown"]);
    (source, time(), time(), 0..30usize, kinds, any::<bool>(), filter).prop_map(
        |(source, start, end, limit, kinds, descending, filter)| ReadQuery {
            source_id: source.to_owned(),
            start,
            end,
            limit,
            kinds,
            descending,
            name_filter: filter.map(|filter| Regex::new(filter).expect("valid")),
            max_bytes: usize::MAX / 2,
        },
    )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => vec(envelope(), 0..12).prop_map(Step::Ingest),
        4 => query().prop_map(Step::Read),
        1 => Just(Step::Maintain),
    ];
    vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    /// For any order of ingesting, reading and merging, store and model return equal pages and counts.
    #[test]
    fn the_store_agrees_with_the_model(steps in steps()) {
        let limits = small();
        let max = usize::try_from(limits.max_per_source).expect("small");
        // With a clock that stands still in 1970, sequence numbers start at one.
        let (_, clock) = Clock::manual(0);
        let store = Store::with_clock(limits, clock);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Ingest(envelopes) => {
                    store.ingest(&batch(&envelopes), |_| ());
                    let given = timestamps(&store);
                    for envelope in envelopes {
                        let arrived = model.sources.get(&envelope.source_id).map_or(0, Vec::len) as u64 + 1;
                        // The timestamp of a row that has expired cannot be read.
                        let wanted = envelope.timestamp.min(MAX_TIMESTAMP);
                        let given = given.get(&(envelope.source_id.clone(), arrived)).copied();
                        model.push(envelope, given.unwrap_or(wanted));
                    }
                }
                Step::Read(query) => prop_assert_eq!(read(&store, &query), model.read(&query, max)),
                Step::Maintain => store.maintain(),
            }
        }
        let meta = store.meta();
        prop_assert_eq!(&meta, &model.meta(max));
        for meta in meta {
            prop_assert_eq!(store.meta_of(&meta.source_id), Some(meta));
        }
        prop_assert_eq!(store.meta_of("unknown"), None);
        assert_consistent(&store);
    }
}
