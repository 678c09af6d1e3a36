//! What must hold of any bytes, one function for each fuzz target.
//!
//! The functions panic where something does not hold, which is what a fuzzer looks for. They are plain functions: the crate's
//! tests give each of them its seeds and changed ones ([`mutations`]), and `libfuzzer/` gives them to libFuzzer.

use bytes::Bytes;
use prost::Message as _;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::v1::{Arrival, Converter};
use weir_envelope::view::{EnvelopeView, Message, Stream, TagValue};
use weir_envelope::{json as envelope_json, tags as envelope_tags, v1};
use weir_proto::events;
use weir_proto::loggregator_v2::{self as v2, envelope, value::Data};

pub mod access;
pub mod mutations;
pub mod nats;
pub mod seeds;
pub mod syslog;

/// A function that panics where something does not hold of bytes.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("batch", batch),
    ("view", view),
    ("to_v1", to_v1),
    ("from_v1", from_v1),
    ("json", json),
    ("tags", tags),
    ("syslog_read", syslog::read),
    ("syslog_frames", syslog::frames),
    ("syslog_write", syslog::write),
    ("token", access::token),
    ("form", access::form),
    ("filter", access::filter),
    ("redirect", access::redirect),
    ("stream", access::stream),
    ("nats_operations", nats::operations),
    ("registration", nats::registration),
];

/// A batch off the wire: what is kept is a clean batch again, and each of its envelopes is one for every decoder.
pub fn batch(bytes: &[u8]) {
    let split = Batch::split(Bytes::copy_from_slice(bytes));
    let again = Batch::split(split.batch.bytes().clone());
    assert!(again.rejected.is_empty() && again.broken.is_none());
    assert_eq!(again.batch.len(), split.batch.len());
    assert!(v2::EnvelopeBatch::decode(split.batch.bytes().clone()).is_ok());
    let mut builder = BatchBuilder::new();
    for raw in split.batch.iter() {
        assert_eq!(raw.view().source_id(), raw.source_id());
        assert_eq!(raw.view().kind(), raw.kind());
        assert!(builder.push(raw.bytes()));
    }
    assert_eq!(builder.finish().len(), split.batch.len());
    let odd = split.batch.select(|raw| raw.bytes().len() % 2 == 1);
    assert!(odd.is_none_or(|odd| !odd.is_empty() && odd.byte_len() <= split.batch.byte_len()));
}

/// An envelope: reading never fails, and sees what a decoder of owned types sees if the envelope is valid.
pub fn view(bytes: &[u8]) {
    let seen = typed(EnvelopeView::new(bytes));
    if Batch::from_envelope(bytes).is_err() {
        return;
    }
    let mut decoded = v2::Envelope::decode(bytes).expect("valid to one is valid to all");
    if let Some(envelope::Message::Log(log)) = &mut decoded.message {
        log.r#type = i32::from(log.r#type != 0);
    }
    // Encoded, as a NaN is not equal to itself.
    assert_eq!(seen.encode_to_vec(), decoded.encode_to_vec());
}

/// An envelope: its v1 messages are such, and are counted.
pub fn to_v1(bytes: &[u8]) {
    let valid = Batch::from_envelope(bytes).is_ok();
    let mut messages = 0;
    let converted = Converter::new().to_v1(EnvelopeView::new(bytes), |message| {
        messages += 1;
        if valid {
            events::Envelope::decode(message).expect("what comes of a valid envelope is valid");
        }
    });
    assert_eq!(messages, converted.map_or(0, |converted| converted.messages));
}

/// A v1 envelope: what comes of it is valid, and nothing comes of a broken one.
pub fn from_v1(bytes: &[u8]) {
    for origin_is_source in [false, true] {
        let mut out = Vec::new();
        let arrival = Arrival {
            origin_is_source,
            ..Arrival::default()
        };
        if v1::from_v1(bytes, &arrival, &mut out).is_ok() {
            assert!(Batch::from_envelope(&out).is_ok());
        } else {
            assert!(out.is_empty());
        }
    }
}

/// An envelope: its JSON is JSON.
pub fn json(bytes: &[u8]) {
    let mut out = Vec::new();
    envelope_json::write_envelope(&EnvelopeView::new(bytes), &mut out);
    serde_json::from_slice::<serde_json::Value>(&out).expect("JSON");
}

/// An envelope: with its tags in one map it is still one, the other map is empty, and folding again changes nothing.
pub fn tags(bytes: &[u8]) {
    let mut preferred = Vec::new();
    envelope_tags::prefer_tags(bytes, &mut preferred);
    let mut deprecated = Vec::new();
    envelope_tags::deprecate_tags(bytes, &mut deprecated);
    if Batch::from_envelope(bytes).is_err() {
        return;
    }
    assert!(Batch::from_envelope(&preferred).is_ok() && Batch::from_envelope(&deprecated).is_ok());
    assert_eq!(EnvelopeView::new(&preferred).deprecated_tags().count(), 0);
    assert_eq!(EnvelopeView::new(&deprecated).tags().count(), 0);
    let mut again = Vec::new();
    envelope_tags::prefer_tags(&preferred, &mut again);
    assert_eq!(again, preferred);
}

fn typed(view: EnvelopeView<'_>) -> v2::Envelope {
    let message = match view.message() {
        Message::Log { payload, stream } => Some(envelope::Message::Log(v2::Log {
            payload: Bytes::copy_from_slice(payload),
            r#type: i32::from(stream == Stream::Err),
        })),
        Message::Counter { name, delta, total } => Some(envelope::Message::Counter(v2::Counter {
            name: name.to_owned(),
            delta,
            total,
        })),
        Message::Gauge(metrics) => Some(envelope::Message::Gauge(v2::Gauge {
            metrics: metrics
                .map(|metric| {
                    (
                        metric.name.to_owned(),
                        v2::GaugeValue {
                            unit: metric.unit.to_owned(),
                            value: metric.value,
                        },
                    )
                })
                .collect(),
        })),
        Message::Timer { name, start, stop } => Some(envelope::Message::Timer(v2::Timer {
            name: name.to_owned(),
            start,
            stop,
        })),
        Message::Event { title, body } => Some(envelope::Message::Event(v2::Event {
            title: title.to_owned(),
            body: body.to_owned(),
        })),
        Message::None => None,
    };
    let data = |value| match value {
        TagValue::Text(text) => Some(Data::Text(text.to_owned())),
        TagValue::Integer(value) => Some(Data::Integer(value)),
        TagValue::Decimal(value) => Some(Data::Decimal(value)),
        TagValue::None => None,
    };
    v2::Envelope {
        timestamp: view.timestamp(),
        source_id: view.source_id().to_owned(),
        instance_id: view.instance_id().to_owned(),
        deprecated_tags: view
            .deprecated_tags()
            .map(|(key, value)| (key.to_owned(), v2::Value { data: data(value) }))
            .collect(),
        tags: view
            .tags()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        message,
    }
}
