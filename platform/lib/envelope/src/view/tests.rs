use proptest::prelude::*;
use prost::Message as _;
use weir_proto::loggregator_v2::{self as v2, envelope, value::Data};

use super::{EnvelopeView, Message, Stream, TagValue};
use crate::batch::{Batch, Kind};
use crate::scan::scan;
use crate::testing;
use crate::wire::{put_bytes, put_uint};

/// Collects what a view returns into owned types.
fn typed(view: EnvelopeView<'_>) -> v2::Envelope {
    let message = match view.message() {
        Message::Log { payload, stream } => Some(envelope::Message::Log(v2::Log {
            payload: payload.to_vec().into(),
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

/// Decodes an envelope with the typed decoder; an unknown stream is changed to standard error, as the view reads it.
fn decoded(bytes: &[u8]) -> v2::Envelope {
    let mut envelope = v2::Envelope::decode(bytes).expect("accepted by the scan");
    if let Some(envelope::Message::Log(log)) = &mut envelope.message {
        log.r#type = i32::from(log.r#type != 0);
    }
    envelope
}

/// Asserts that view and typed decoder agree on bytes that pass the scan, and the summary with the single accessors.
fn assert_agreement(bytes: &[u8]) {
    let view = EnvelopeView::new(bytes);
    // Encoded, as a NaN is not equal to itself.
    assert_eq!(
        typed(view).encode_to_vec(),
        decoded(bytes).encode_to_vec(),
        "{:?}",
        decoded(bytes)
    );
    let summary = view.summary();
    assert_eq!(summary.timestamp, view.timestamp());
    assert_eq!(summary.source_id, view.source_id());
    assert_eq!(summary.instance_id, view.instance_id());
    assert_eq!(summary.kind, view.kind());
    assert_eq!(summary.kind, scan(bytes).unwrap().kind);
    assert!(summary.tags().eq(view.tags()));
    assert_eq!(summary.has_deprecated_tags(), scan(bytes).unwrap().deprecated_tags);
    assert_eq!(format!("{:?}", summary.deprecated_tags().collect::<Vec<_>>()), {
        format!("{:?}", view.deprecated_tags().collect::<Vec<_>>())
    });
}

proptest! {
    /// The view agrees with the typed decoder on an envelope with its fields in any order, and on two envelopes joined
    /// to one.
    #[test]
    fn views_agree_with_the_typed_decoder(
        (one, other) in (testing::envelope(), testing::envelope())
            .prop_flat_map(|(one, other)| {
                (testing::shuffled(&one.encode_to_vec()), testing::shuffled(&other.encode_to_vec()))
            })
    ) {
        assert_agreement(&one);
        assert_agreement(&[one.clone(), other.clone()].concat());
        assert_agreement(&[one.clone(), other, one].concat());
    }

    /// Arbitrary bytes cause no panic, and view and decoder agree on those that pass the scan.
    #[test]
    fn views_never_panic(bytes in testing::arbitrary_bytes(testing::envelope().prop_map(|one| one.encode_to_vec()))) {
        drop(typed(EnvelopeView::new(&bytes)));
        drop(EnvelopeView::new(&bytes).tag("origin"));
        if scan(&bytes).is_ok() {
            assert_agreement(&bytes);
        }
    }
}

proptest! {
    /// Of arbitrary bytes, the envelopes that a batch keeps are valid, and a split of its bytes gives them again.
    #[test]
    fn batches_of_arbitrary_bytes_are_valid(
        bytes in testing::arbitrary_bytes(proptest::collection::vec(testing::envelope(), 0..4).prop_map(|batch| {
            v2::EnvelopeBatch { batch }.encode_to_vec()
        }))
    ) {
        let split = Batch::split(bytes.into());
        for raw in split.batch.iter() {
            assert_agreement(raw.bytes());
            prop_assert_eq!(raw.source_id(), raw.view().source_id());
            prop_assert_eq!(raw.kind(), raw.view().kind());
            prop_assert_eq!(raw.has_deprecated_tags(), raw.view().summary().has_deprecated_tags());
        }
        let again = Batch::split(split.batch.bytes().clone());
        prop_assert!(again.rejected.is_empty() && again.broken.is_none());
        prop_assert_eq!(again.batch.len(), split.batch.len());
    }
}

/// A tag is looked up in the preferred tags first; the value of a deprecated tag is printed.
#[test]
fn tags_are_found_in_both_maps() {
    let mut envelope = v2::Envelope::default();
    envelope.tags.insert("both".to_owned(), "preferred".to_owned());
    for (key, data) in [
        ("both", Some(Data::Text("deprecated".to_owned()))),
        ("text", Some(Data::Text("t".to_owned()))),
        ("integer", Some(Data::Integer(-3))),
        ("decimal", Some(Data::Decimal(0.5))),
        ("nothing", None),
    ] {
        envelope.deprecated_tags.insert(key.to_owned(), v2::Value { data });
    }
    let bytes = envelope.encode_to_vec();
    let view = EnvelopeView::new(&bytes);
    for (key, text) in [
        ("both", Some("preferred")),
        ("text", Some("t")),
        ("integer", Some("-3")),
        ("decimal", Some("0.500000")),
        ("nothing", Some("")),
        ("absent", None),
    ] {
        assert_eq!(view.tag(key).as_deref(), text, "{key}");
        assert_eq!(view.summary().tag(key).as_deref(), text, "{key}");
    }
}

/// Malformed fields read as defaults, and reading ends where the framing breaks.
#[test]
fn unvalidated_bytes_read_as_defaults() {
    let mut bytes = Vec::new();
    put_uint(&mut bytes, 2, 7);
    put_bytes(&mut bytes, 8, b"\xff");
    put_bytes(&mut bytes, 1, b"x");
    put_bytes(&mut bytes, 4, b"\x0a\x05ab");
    bytes.extend_from_slice(&[0x0b, 0x08, 0x01]);
    let view = EnvelopeView::new(&bytes);
    assert_eq!((view.timestamp(), view.source_id(), view.instance_id()), (0, "", ""));
    assert_eq!(view.kind(), Kind::Log);
    assert!(matches!(
        view.message(),
        Message::Log {
            payload: b"",
            stream: Stream::Out
        }
    ));
}

/// The encoded tags of one emitter are equal bytes, whatever other fields the envelopes have.
#[test]
fn the_encoded_tags_of_one_emitter_are_equal_bytes() {
    let stretch = |timestamp: i64, payload: &[u8]| {
        let mut envelope = Vec::new();
        crate::encode::Writer::new(&mut envelope)
            .timestamp(timestamp)
            .source_id("app")
            .log(payload, Stream::Out)
            .tags([("a", "1"), ("b", "2")]);
        EnvelopeView::new(&envelope).summary().tags_bytes().to_vec()
    };
    assert_eq!(stretch(1, b"one"), stretch(1 << 60, b"two words"));
    assert!(!stretch(1, b"one").is_empty());
}
