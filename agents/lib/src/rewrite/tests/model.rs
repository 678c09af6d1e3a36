//! A simple model of the rules on decoded envelopes, and a property test that compares the rewriter with it.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// The agent's rules as the contract states them.
#[derive(Default)]
struct Model {
    totals: HashMap<(String, String, BTreeMap<String, String>), u64>,
}

impl Model {
    fn apply(&mut self, envelope: &mut v2::Envelope) -> u64 {
        let mut mapped = 0;
        if envelope.source_id.is_empty() {
            let deprecated = envelope.deprecated_tags.get("origin").map(|value| match &value.data {
                Some(v2::value::Data::Text(text)) => text.clone(),
                other => print(other.as_ref()),
            });
            if let Some(origin) = envelope.tags.get("origin").cloned().or(deprecated) {
                envelope.source_id = origin;
                mapped = 1;
            }
        }
        for (key, value) in &envelope.deprecated_tags {
            envelope.tags.insert(key.clone(), print(value.data.as_ref()));
        }
        for (key, value) in DEFAULTS {
            envelope.tags.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
        if let Some(v2::envelope::Message::Counter(counter)) = &mut envelope.message {
            let series = (counter.name.clone(), envelope.source_id.clone(), envelope.tags.clone());
            let total = self.totals.entry(series).or_default();
            *total = if counter.total == 0 {
                total.wrapping_add(counter.delta)
            } else {
                counter.total
            };
            counter.total = *total;
        }
        mapped
    }
}

fn print(data: Option<&v2::value::Data>) -> String {
    match data {
        Some(v2::value::Data::Text(text)) => text.clone(),
        Some(v2::value::Data::Integer(number)) => number.to_string(),
        Some(v2::value::Data::Decimal(number)) => number.to_string(),
        None => String::new(),
    }
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("origin".to_owned()),
        Just("job".to_owned()),
        Just("ip".to_owned()),
        "[a-c]{0,2}",
        "ü{60,70}"
    ]
}

fn value() -> impl Strategy<Value = v2::Value> {
    use v2::value::Data;
    let data = prop_oneof![
        "[x-z]{0,2}".prop_map(Data::Text),
        any::<i64>().prop_map(Data::Integer),
        (-1e30..1e30f64).prop_map(Data::Decimal),
    ];
    prop::option::of(data).prop_map(|data| v2::Value { data })
}

fn message() -> impl Strategy<Value = Option<v2::envelope::Message>> {
    let counter = ("[a-b]", 0..3u64, prop_oneof![Just(0u64), 0..5u64])
        .prop_map(|(name, delta, total)| v2::envelope::Message::Counter(v2::Counter { name, delta, total }));
    let log = "[a-z]{0,9}".prop_map(|line| {
        v2::envelope::Message::Log(v2::Log {
            payload: line.into_bytes().into(),
            ..Default::default()
        })
    });
    prop::option::of(prop_oneof![3 => counter, 1 => log])
}

/// Generates an encoded envelope as the concatenation of one or two encodings, which protobuf readers merge.
fn envelope() -> impl Strategy<Value = Vec<u8>> {
    let part = (
        prop_oneof![Just(String::new()), "[s-t]"],
        prop::collection::btree_map(key(), "[x-z]{0,2}", 0..4),
        prop::collection::btree_map(key(), value(), 0..3),
        message(),
    );
    prop::collection::vec(part, 1..3).prop_map(|parts| {
        let encoded = parts.into_iter().map(|(source_id, tags, deprecated_tags, message)| {
            let part = v2::Envelope {
                source_id,
                tags,
                deprecated_tags,
                message,
                ..Default::default()
            };
            part.encode_to_vec()
        });
        encoded.flatten().collect()
    })
}

proptest! {
    /// For any sequence of batches, the rewritten bytes decode to what the model produces.
    #[test]
    fn rewritten_bytes_follow_the_rules(
        batches in prop::collection::vec(prop::collection::vec(envelope(), 1..5), 1..4),
    ) {
        let rewriter = rewriter();
        let mut model = Model::default();
        for envelopes in batches {
            let mut builder = BatchBuilder::new();
            let mut expected = Vec::new();
            let mut mapped = 0;
            for bytes in &envelopes {
                prop_assert!(builder.push(bytes));
                let mut envelope = v2::Envelope::decode(&bytes[..]).unwrap();
                mapped += model.apply(&mut envelope);
                expected.push(envelope);
            }
            let rewritten = rewriter.rewrite(builder.finish());
            prop_assert_eq!(rewritten.origin_mappings, mapped);
            prop_assert_eq!(decoded(&rewritten.batch), expected);
            // The source ids that the batch has in its index are those in the envelopes.
            for (raw, envelope) in rewritten.batch.iter().zip(decoded(&rewritten.batch)) {
                prop_assert_eq!(raw.source_id(), envelope.source_id);
            }
            prop_assert!(Batch::split(rewritten.batch.bytes().clone()).rejected.is_empty());
        }
    }
}
