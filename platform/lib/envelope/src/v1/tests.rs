use proptest::prelude::*;
use prost::Message as _;
use weir_proto::events;
use weir_proto::loggregator_v2 as v2;

use super::{Arrival, Converted, Converter, EventType, FromV1Error, Unconvertible, from_v1, to_v1};
use crate::batch::Batch;
use crate::encode::Writer;
use crate::testing;
use crate::view::{EnvelopeView, Stream, TagValue};
use crate::wire::Fields;

mod reference;

fn v1_of(bytes: &[u8]) -> Result<(Vec<events::Envelope>, Converted), Unconvertible> {
    let mut messages = Vec::new();
    let converted = to_v1(EnvelopeView::new(bytes), |message| {
        messages.push(events::Envelope::decode(message).expect("what is handed out is an envelope"));
        assert_required(message);
    });
    assert!(converted.is_ok() || messages.is_empty());
    converted.map(|converted| {
        assert_eq!(converted.messages, messages.len());
        (messages, converted)
    })
}

fn v1_of_written(write: impl FnOnce(&mut Writer<'_>)) -> Result<(Vec<events::Envelope>, Converted), Unconvertible> {
    let mut envelope = Vec::new();
    write(&mut Writer::new(&mut envelope));
    v1_of(&envelope)
}

fn v2_of(bytes: &[u8], arrival: &Arrival<'_>) -> Result<v2::Envelope, FromV1Error> {
    let mut out = b"kept".to_vec();
    let result = from_v1(bytes, arrival, &mut out);
    assert!(out.starts_with(b"kept"));
    assert!(result.is_ok() || out.len() == 4, "nothing is left behind by a failure");
    result.map(|()| {
        assert!(Batch::from_envelope(&out[4..]).is_ok());
        v2::Envelope::decode(&out[4..]).unwrap()
    })
}

/// Asserts that the required fields of the envelope, its payload and the request id are present. The typed decoders do
/// not check that.
fn assert_required(message: &[u8]) {
    let present = |bytes: &[u8], numbers: &[u32]| {
        let found: Vec<u32> = Fields::new(bytes).map(|field| field.unwrap().0).collect();
        assert!(
            numbers.iter().all(|number| found.contains(number)),
            "{numbers:?} in {found:?}"
        );
    };
    present(message, &[1, 2]);
    let payloads: Vec<_> = Fields::new(message)
        .map(Result::unwrap)
        .filter(|(number, _)| (7..=12).contains(number))
        .map(|(number, value)| (number, value.bytes(number).unwrap()))
        .collect();
    assert_eq!(payloads.len(), 1);
    let (number, payload) = payloads[0];
    match number {
        7 => present(payload, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        8 | 9 | 11 => present(payload, &[1, 2, 3]),
        10 => present(payload, &[1, 2]),
        _ => present(payload, &[1, 2, 3, 4, 5]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// The conversion of any v2 envelope equals the plain conversion of owned types, and fails where that one fails.
    #[test]
    fn v2_to_v1_equals_the_conversion_of_owned_types(
        bytes in testing::envelope().prop_flat_map(|envelope| testing::shuffled(&envelope.encode_to_vec()))
    ) {
        let envelope = v2::Envelope::decode(&*bytes).unwrap();
        let expected = reference::to_v1(&envelope);
        match v1_of(&bytes) {
            Ok((messages, converted)) => {
                let encode = |messages: &[events::Envelope]| -> Vec<Vec<u8>> {
                    messages.iter().map(prost::Message::encode_to_vec).collect()
                };
                prop_assert_eq!(encode(&messages), encode(&expected), "{:?} {:?}", messages, expected);
                prop_assert_eq!(converted.lost_metrics, reference::lost_metrics(&envelope));
            }
            Err(error) => prop_assert!(expected.is_empty(), "{error}: {expected:?}"),
        }
    }

    /// A converter gives the same result for an envelope, whichever envelopes it converted before.
    #[test]
    fn a_reused_converter_gives_the_result_of_a_new_one(envelopes in prop::collection::vec(testing::envelope(), 1..6)) {
        let mut converter = Converter::new();
        for envelope in envelopes {
            let bytes = envelope.encode_to_vec();
            let (mut fresh, mut again) = (Vec::new(), Vec::new());
            let one = to_v1(EnvelopeView::new(&bytes), |message| fresh.push(message.to_vec()));
            let other = converter.to_v1(EnvelopeView::new(&bytes), |message| again.push(message.to_vec()));
            prop_assert_eq!(one, other);
            prop_assert_eq!(fresh, again);
        }
    }

    /// The conversion of any v1 envelope equals the plain conversion of owned types.
    #[test]
    fn v1_to_v2_equals_the_conversion_of_owned_types(
        (envelope, bytes) in testing::v1_envelope().prop_flat_map(|envelope| {
            let bytes = testing::shuffled(&envelope.encode_to_vec());
            // Repeated text: its order means something.
            let keep = envelope.http_start_stop.as_ref().is_some_and(|http| http.forwarded.len() > 1);
            let original = envelope.encode_to_vec();
            (Just(envelope), bytes.prop_map(move |bytes| if keep { original.clone() } else { bytes }))
        })
    ) {
        let converted = v2_of(&bytes, &Arrival::default()).unwrap();
        prop_assert_eq!(converted.encode_to_vec(), reference::from_v1(&envelope).encode_to_vec());
    }

    /// An envelope that is converted from v1 to v2 and back is the one that was sent, but for the losses that the
    /// contract lists.
    #[test]
    fn v1_to_v2_and_back_keeps_the_envelope(envelope in testing::v1_envelope()) {
        let mut bytes = Vec::new();
        from_v1(&envelope.encode_to_vec(), &Arrival::default(), &mut bytes).unwrap();
        let known = envelope.http_start_stop.as_ref().is_none_or(|http| {
            (1..=2).contains(&http.peer_type) && (1..=44).contains(&http.method)
        });
        match v1_of(&bytes) {
            Ok((messages, _)) => {
                prop_assert!(known);
                prop_assert_eq!(messages.len(), 1);
                let event_type = EventType::of(envelope.event_type).unwrap();
                // A container metric whose values are all zero comes back as value metrics.
                if event_type != EventType::ContainerMetric {
                    prop_assert_eq!(messages[0].event_type, envelope.event_type);
                }
                prop_assert_eq!(&messages[0].origin, &envelope.origin);
            }
            Err(error) => prop_assert!(!known, "{error}"),
        }
    }

    /// Arbitrary bytes cause no panic in either direction, and the output is valid.
    #[test]
    fn conversion_never_panics(
        one in testing::arbitrary_bytes(testing::envelope().prop_map(|envelope| envelope.encode_to_vec())),
        other in testing::arbitrary_bytes(testing::v1_envelope().prop_map(|envelope| envelope.encode_to_vec())),
    ) {
        for bytes in [one, other] {
            let valid = Batch::from_envelope(&bytes).is_ok();
            let mut messages = 0;
            let converted = to_v1(EnvelopeView::new(&bytes), |message| {
                messages += 1;
                assert!(!valid || events::Envelope::decode(message).is_ok());
            });
            prop_assert_eq!(messages, converted.map_or(0, |converted| converted.messages));
            drop(v2_of(&bytes, &Arrival { origin_is_source: true, ..Arrival::default() }));
        }
    }

    /// If a required field of a payload is missing, the error names it.
    #[test]
    fn a_missing_required_field_is_named(envelope in testing::v1_envelope(), index in any::<prop::sample::Index>()) {
        let number = EventType::of(envelope.event_type).unwrap().payload_field();
        let required: &[u32] = match number {
            7 => &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
            10 => &[1, 2],
            12 => &[1, 2, 3, 4, 5],
            _ => &[1, 2, 3],
        };
        let left_out = required[index.index(required.len())];
        let mut bytes = Vec::new();
        for field in testing::split(&envelope.encode_to_vec()) {
            let (found, value) = Fields::new(&field).next().unwrap().unwrap();
            if found != number {
                bytes.extend_from_slice(&field);
                continue;
            }
            let rest: Vec<Vec<u8>> = testing::split(value.bytes(number).unwrap())
                .into_iter()
                .filter(|inner| Fields::new(inner).next().unwrap().unwrap().0 != left_out)
                .collect();
            crate::wire::put_bytes(&mut bytes, number, &rest.concat());
        }
        prop_assert!(matches!(v2_of(&bytes, &Arrival::default()), Err(FromV1Error::Missing(_))));
    }
}

/// A v1 envelope is refused if it lacks a required field or its payload, or has an unknown type.
#[test]
fn incomplete_v1_envelopes_are_refused() {
    let refused = |bytes: &[u8]| v2_of(bytes, &Arrival::default()).unwrap_err();
    assert_eq!(refused(b""), FromV1Error::Missing("origin"));
    assert_eq!(refused(b"\x0a\x01o"), FromV1Error::Missing("eventType"));
    assert_eq!(refused(b"\x0a\x01o\x10\x05"), FromV1Error::Missing("LogMessage"));
    assert_eq!(refused(b"\x0a\x01o\x10\x03"), FromV1Error::EventType(3));
    assert!(matches!(refused(b"\x0a\x09o"), FromV1Error::Malformed(_)));
}

/// An agent fills in the origin as source id and the fields that are absent, but not those that are present and empty.
#[test]
fn missing_fields_are_filled_in_on_arrival() {
    let arrival = Arrival {
        origin_is_source: true,
        deployment: "d",
        job: "j",
        index: "i",
        ip: "10.0.0.1",
    };
    let mut envelope = events::Envelope {
        origin: "o".to_owned(),
        event_type: 7,
        job: Some(String::new()),
        counter_event: Some(events::CounterEvent {
            name: "n".to_owned(),
            delta: 1,
            total: None,
        }),
        ..Default::default()
    };
    let converted = v2_of(&envelope.encode_to_vec(), &arrival).unwrap();
    assert_eq!(converted.source_id, "o");
    for (key, value) in [
        ("deployment", "d"),
        ("job", ""),
        ("index", "i"),
        ("ip", "10.0.0.1"),
        ("origin", "o"),
    ] {
        assert_eq!(converted.tags[key], value);
    }
    envelope.tags.insert("source_id".to_owned(), String::new());
    assert_eq!(v2_of(&envelope.encode_to_vec(), &arrival).unwrap().source_id, "o");
    assert_eq!(
        v2_of(&envelope.encode_to_vec(), &Arrival::default()).unwrap().source_id,
        ""
    );
    envelope.tags.insert("source_id".to_owned(), "s".to_owned());
    assert_eq!(v2_of(&envelope.encode_to_vec(), &arrival).unwrap().source_id, "s");
}

/// Text of v1 that is not UTF-8 gets replacement characters; the payload of a log is not changed.
#[test]
fn invalid_utf8_gets_replacement_characters() {
    let mut log = Vec::new();
    crate::wire::put_bytes(&mut log, 1, b"\xff\xfe");
    crate::wire::put_present_uint(&mut log, 2, 1);
    crate::wire::put_present_uint(&mut log, 3, 1);
    crate::wire::put_bytes(&mut log, 5, b"A\xffP");
    let mut bytes = Vec::new();
    crate::wire::put_bytes(&mut bytes, 1, b"o\xff");
    crate::wire::put_present_uint(&mut bytes, 2, 5);
    crate::wire::put_bytes(&mut bytes, 8, &log);
    crate::wire::put_entry(&mut bytes, 17, b"k\xff", b"v\xff");
    let envelope = v2_of(&bytes, &Arrival::default()).unwrap();
    assert_eq!(envelope.tags["origin"], "o\u{fffd}");
    assert_eq!(envelope.tags["source_type"], "A\u{fffd}P");
    assert_eq!(envelope.tags["k\u{fffd}"], "v\u{fffd}");
    let Some(v2::envelope::Message::Log(log)) = envelope.message else {
        panic!("a log")
    };
    assert_eq!(log.payload.as_ref(), b"\xff\xfe");
}

/// Timers that are not HTTP requests, events and empty envelopes have no v1 form, and the error says why.
#[test]
fn envelopes_without_a_v1_form_are_refused_with_the_reason() {
    let uuid = "b3015d69-09cd-476d-aace-ad2d824d5ab7";
    let timer = |tags: &[(&str, &str)]| {
        v1_of_written(|writer| {
            writer.source_id("app").tags(tags.iter().copied()).timer("http", 1, 2);
        })
        .map(|(messages, _)| messages.len())
    };
    assert_eq!(timer(&[]), Err(Unconvertible::Timer("request_id")));
    assert_eq!(timer(&[("request_id", "x")]), Err(Unconvertible::Timer("request_id")));
    assert_eq!(timer(&[("request_id", uuid)]), Err(Unconvertible::Timer("peer_type")));
    let peer = [("request_id", uuid), ("peer_type", "Server")];
    assert_eq!(timer(&peer), Err(Unconvertible::Timer("method")));
    assert_eq!(timer(&[peer[0], peer[1], ("method", "GET")]), Ok(1));
    let event = v1_of_written(|writer| {
        writer.event("t", "b");
    });
    assert_eq!(event.unwrap_err(), Unconvertible::Event);
    assert_eq!(v1_of(b"").unwrap_err(), Unconvertible::Empty);
    let gauge = v1_of_written(|writer| {
        writer.gauge(&[]);
    });
    assert_eq!(gauge.unwrap_err(), Unconvertible::Empty);
}

/// A gauge with the five metrics of a container becomes one message, and its other metrics are counted as lost.
#[test]
fn a_container_metric_counts_the_metrics_it_cannot_hold() {
    let metrics = [
        ("cpu", "percentage", 1.5),
        ("memory", "bytes", 2.0),
        ("disk", "bytes", 3.0),
        ("memory_quota", "bytes", 4.0),
        ("disk_quota", "bytes", 5.0),
        ("instance_index", "", 7.0),
        ("absolute_usage", "nanoseconds", 8.0),
    ];
    let convert = |metrics: &[(&str, &str, f64)]| {
        v1_of_written(|writer| {
            writer.source_id("app").instance_id("3").gauge(metrics);
        })
        .unwrap()
    };
    let (messages, converted) = convert(&metrics);
    assert_eq!(
        converted,
        Converted {
            messages: 1,
            lost_metrics: 1
        }
    );
    let container = messages[0].container_metric.as_ref().unwrap();
    assert_eq!((container.instance_index, container.disk_bytes_quota), (7, Some(5)));
    let (messages, converted) = convert(&metrics[..5]);
    assert_eq!(converted.lost_metrics, 0);
    assert_eq!(messages[0].container_metric.as_ref().unwrap().instance_index, 3);
    // If one of the five is missing, each metric becomes a message of its own.
    let (messages, _) = convert(&metrics[1..]);
    assert_eq!(messages.len(), 6);
    assert!(messages.iter().all(|message| message.tags["instance_id"] == "3"));
}

/// A gauge of many metrics and long tags, which would become more than the limit, is refused.
#[test]
fn a_gauge_that_would_exceed_the_output_limit_is_refused() {
    let names: Vec<String> = (0..50_000).map(|index| index.to_string()).collect();
    let metrics: Vec<_> = names.iter().map(|name| (&**name, "", 1.0)).collect();
    let value = "x".repeat(1 << 20);
    let flood = v1_of_written(|writer| {
        writer.tag("t", &value).gauge(&metrics);
    });
    assert!(matches!(flood, Err(Unconvertible::TooLarge { messages: 50_000, .. })));
}

/// Every field of a log line is found again in its v1 form.
#[test]
fn a_log_line_keeps_every_field() {
    let (messages, _) = v1_of_written(|writer| {
        writer
            .timestamp(17)
            .source_id("app")
            .instance_id("3")
            .tags([
                ("origin", "rep"),
                ("source_type", "APP/PROC/WEB"),
                ("app_name", "shop"),
                ("job", "cell"),
            ])
            .deprecated_tag("ip", TagValue::Text("10.0.0.1"))
            .deprecated_tag("app_name", TagValue::Text("store"))
            .log(b"line", Stream::Err);
    })
    .unwrap();
    let [message] = &messages[..] else {
        panic!("one message")
    };
    assert_eq!(message.origin, "rep");
    assert_eq!(message.job.as_deref(), Some("cell"));
    assert_eq!(message.ip.as_deref(), Some("10.0.0.1"));
    assert_eq!(message.deployment.as_deref(), Some(""));
    assert_eq!(message.timestamp, Some(17));
    let tags: Vec<_> = message.tags.iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(tags, [("app_name", "store"), ("source_id", "app")]);
    let log = message.log_message.as_ref().unwrap();
    assert_eq!(
        (log.message.as_ref(), log.message_type, log.timestamp),
        (&b"line"[..], 2, 17)
    );
    assert_eq!(log.app_id.as_deref(), Some("app"));
    assert_eq!(log.source_type.as_deref(), Some("APP/PROC/WEB"));
    assert_eq!(log.source_instance.as_deref(), Some("3"));
}
