use std::collections::BTreeMap;

use base64::Engine as _;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};
use weir_proto::loggregator_v2::{self as v2, envelope::Message, value::Data};

use super::{STANDARD, write_batch, write_envelope};
use crate::encode::Writer;
use crate::testing;
use crate::view::{EnvelopeView, Stream, TagValue};

fn json(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    write_envelope(&EnvelopeView::new(bytes), &mut out);
    String::from_utf8(out).unwrap()
}

fn written(write: impl FnOnce(&mut Writer<'_>)) -> String {
    let mut envelope = Vec::new();
    write(&mut Writer::new(&mut envelope));
    json(&envelope)
}

/// Returns a placeholder for a finite number, because serde_json does not always read a number back exactly.
fn number(value: f64) -> Value {
    if value.is_finite() {
        json!("finite")
    } else {
        json!(if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        })
    }
}

fn blur(value: &mut Value) {
    match value {
        Value::Number(_) => *value = json!("finite"),
        Value::Object(map) => map.values_mut().for_each(blur),
        _ => {}
    }
}

fn expected(envelope: &v2::Envelope) -> Value {
    let deprecated: BTreeMap<_, _> = envelope
        .deprecated_tags
        .iter()
        .map(|(key, value)| {
            (
                key,
                match &value.data {
                    Some(Data::Text(text)) => json!({ "text": text }),
                    Some(Data::Integer(value)) => json!({ "integer": value.to_string() }),
                    Some(Data::Decimal(value)) => json!({ "decimal": number(*value) }),
                    None => json!({}),
                },
            )
        })
        .collect();
    let mut object = json!({
        "timestamp": envelope.timestamp.to_string(),
        "source_id": envelope.source_id,
        "instance_id": envelope.instance_id,
        "deprecated_tags": deprecated,
        "tags": envelope.tags,
    });
    let member = match &envelope.message {
        Some(Message::Log(log)) => Some((
            "log",
            json!({
                "payload": STANDARD.encode(&log.payload),
                "type": if log.r#type == 0 { "OUT" } else { "ERR" },
            }),
        )),
        Some(Message::Counter(counter)) => Some((
            "counter",
            json!({
                "name": counter.name, "delta": counter.delta.to_string(), "total": counter.total.to_string(),
            }),
        )),
        Some(Message::Gauge(gauge)) => {
            let metrics: BTreeMap<_, _> = gauge
                .metrics
                .iter()
                .map(|(name, value)| (name, json!({ "unit": value.unit, "value": number(value.value) })))
                .collect();
            Some(("gauge", json!({ "metrics": metrics })))
        }
        Some(Message::Timer(timer)) => Some((
            "timer",
            json!({
                "name": timer.name, "start": timer.start.to_string(), "stop": timer.stop.to_string(),
            }),
        )),
        Some(Message::Event(event)) => Some(("event", json!({ "title": event.title, "body": event.body }))),
        None => None,
    };
    if let Some((name, value)) = member {
        object[name] = value;
    }
    object
}

proptest! {
    /// The JSON object of any envelope, with its fields in any order and joined with another, equals that of its typed
    /// form.
    #[test]
    fn objects_equal_those_of_owned_types(
        bytes in (testing::envelope(), testing::envelope())
            .prop_flat_map(|(one, other)| testing::shuffled(&[one.encode_to_vec(), other.encode_to_vec()].concat()))
    ) {
        let mut object: Value = serde_json::from_str(&json(&bytes)).unwrap();
        blur(&mut object);
        prop_assert_eq!(object, expected(&v2::Envelope::decode(&*bytes).unwrap()));
    }

    /// Arbitrary bytes give valid JSON.
    #[test]
    fn arbitrary_bytes_give_valid_json(
        bytes in testing::arbitrary_bytes(testing::envelope().prop_map(|envelope| envelope.encode_to_vec()))
    ) {
        serde_json::from_str::<Value>(&json(&bytes)).unwrap();
    }
}

/// The JSON text is exactly the original's: order of fields, default values, names and numbers.
#[test]
fn the_json_text_is_exactly_the_originals() {
    assert_eq!(
        written(|_| {}),
        r#"{"timestamp":"0","source_id":"","instance_id":"","deprecated_tags":{},"tags":{}}"#
    );
    assert_eq!(
        written(|writer| {
            writer
                .timestamp(-5)
                .source_id("a\"\n")
                .instance_id("0")
                .deprecated_tag("t", TagValue::Text("x"))
                .deprecated_tag("n", TagValue::Integer(7))
                .deprecated_tag("d", TagValue::Decimal(1.5))
                .deprecated_tag("e", TagValue::None)
                .tag("z", "old")
                .tag("b", "ü<")
                .tag("z", "new")
                .log(b"hi\xff", Stream::Err);
        }),
        concat!(
            r#"{"timestamp":"-5","source_id":"a\"\n","instance_id":"0","#,
            r#""deprecated_tags":{"d":{"decimal":1.5},"e":{},"n":{"integer":"7"},"t":{"text":"x"}},"#,
            r#""tags":{"b":"ü<","z":"new"},"log":{"payload":"aGn/","type":"ERR"}}"#
        )
    );
    let tail = |text: String| text.split_once(r#""tags":{},"#).unwrap().1.to_owned();
    assert_eq!(
        tail(written(|writer| {
            writer.counter("c", 0, u64::MAX);
        })),
        r#""counter":{"name":"c","delta":"0","total":"18446744073709551615"}}"#
    );
    assert_eq!(
        tail(written(|writer| {
            writer.gauge(&[("b", "", f64::NAN), ("a", "u", 3.0), ("c", "", f64::NEG_INFINITY)]);
        })),
        concat!(
            r#""gauge":{"metrics":{"a":{"unit":"u","value":3},"b":{"unit":"","value":"NaN"},"#,
            r#""c":{"unit":"","value":"-Infinity"}}}}"#
        )
    );
    assert_eq!(
        tail(written(|writer| {
            writer.timer("http", 1, 2);
        })),
        r#""timer":{"name":"http","start":"1","stop":"2"}}"#
    );
    assert_eq!(
        tail(written(|writer| {
            writer.event("t", "");
        })),
        r#""event":{"title":"t","body":""}}"#
    );
}

/// A batch is one JSON object on one line.
#[test]
fn a_batch_is_one_object_on_one_line() {
    let mut out = Vec::new();
    write_batch([], &mut out);
    assert_eq!(out, br#"{"batch":[]}"#);
    out.clear();
    write_batch([EnvelopeView::new(b""), EnvelopeView::new(b"")], &mut out);
    let list: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(list["batch"].as_array().unwrap().len(), 2);
    assert!(!out.contains(&b'\n'));
}
