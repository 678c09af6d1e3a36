//! Generators for the tests of this crate: envelopes as owned types, their bytes in any order of fields, and arbitrary
//! bytes.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use weir_proto::events;
use weir_proto::loggregator_v2::{self as v2, envelope::Message, value::Data};

use crate::wire::Fields;

/// Tag keys, of which many are known to the conversions.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(vec![
            "origin", "deployment", "job", "index", "ip", "__v1_type", "source_type", "source", "code", "source_id",
            "instance_id", "request_id", "peer_type", "method", "uri", "remote_address", "user_agent", "status_code",
            "content_length", "routing_instance_id", "forwarded", "",
        ]).prop_map(str::to_owned),
        2 => "[a-d]",
        1 => any::<String>(),
    ]
}

/// Tag values, of which many are read by the conversions.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => prop::sample::select(vec![
            "", "Error", "Client", "Server", "GET", "VERSION_CONTROL", "get", "200", "-1", "+7", "99999999999999999999",
            "4294967297", "B3015D69-09cd-476d-aace-ad2d824d5ab7", "b3015d69-09cd-476d-aace-ad2d824d5abx",
            "00000000-0000-0000-0000-000000000000", "10.0.0.1\n10.0.0.2",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn number() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        Just(0.0),
        Just(-0.0),
        Just(1.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        any::<f64>()
    ]
}

fn deprecated_value() -> impl Strategy<Value = v2::Value> {
    prop_oneof![
        text().prop_map(|text| Some(Data::Text(text))),
        any::<i64>().prop_map(|value| Some(Data::Integer(value))),
        number().prop_map(|value| Some(Data::Decimal(value))),
        Just(None),
    ]
    .prop_map(|data| v2::Value { data })
}

fn gauge() -> impl Strategy<Value = Message> {
    let name = prop_oneof![
        4 => prop::sample::select(vec!["cpu", "memory", "disk", "memory_quota", "disk_quota", "instance_index"])
            .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    let value =
        (prop::sample::select(vec!["", "bytes", "percentage"]), number()).prop_map(|(unit, value)| v2::GaugeValue {
            unit: unit.to_owned(),
            value,
        });
    prop_oneof![
        btree_map(name, value.clone(), 0..8),
        // A random gauge would hardly ever be a complete container metric.
        (vec(value, 5), option::of(number())).prop_map(|(values, index)| {
            let names = ["cpu", "memory", "disk", "memory_quota", "disk_quota"].map(str::to_owned);
            let index = index.map(|value| {
                (
                    "instance_index".to_owned(),
                    v2::GaugeValue {
                        unit: String::new(),
                        value,
                    },
                )
            });
            names.into_iter().zip(values).chain(index).collect()
        }),
    ]
    .prop_map(|metrics| Message::Gauge(v2::Gauge { metrics }))
}

fn message() -> impl Strategy<Value = Option<Message>> {
    let message = prop_oneof![
        3 => (vec(any::<u8>(), 0..300), 0..3).prop_map(|(payload, r#type)| {
            Message::Log(v2::Log { payload: payload.into(), r#type })
        }),
        1 => (text(), any::<u64>(), any::<u64>())
            .prop_map(|(name, delta, total)| Message::Counter(v2::Counter { name, delta, total })),
        3 => gauge(),
        2 => (text(), any::<i64>(), any::<i64>())
            .prop_map(|(name, start, stop)| Message::Timer(v2::Timer { name, start, stop })),
        1 => (text(), text()).prop_map(|(title, body)| Message::Event(v2::Event { title, body })),
    ];
    option::weighted(0.9, message)
}

/// Any v2 envelope.
pub(crate) fn envelope() -> impl Strategy<Value = v2::Envelope> {
    let http = option::weighted(
        0.5,
        option::of(key()).prop_map(|left_out| {
            [
                ("request_id", "b3015d69-09cd-476d-aace-ad2d824d5ab7"),
                ("peer_type", "Server"),
                ("method", "PUT"),
                ("status_code", "204"),
            ]
            .into_iter()
            .filter(|(key, _)| left_out.as_deref() != Some(key))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect::<Vec<_>>()
        }),
    );
    (
        any::<i64>(),
        text(),
        text(),
        btree_map(key(), deprecated_value(), 0..4),
        btree_map(key(), text(), 0..12),
        message(),
        http,
    )
        .prop_map(
            |(timestamp, source_id, instance_id, deprecated_tags, mut tags, message, http)| {
                tags.extend(http.into_iter().flatten());
                v2::Envelope {
                    timestamp,
                    source_id,
                    instance_id,
                    deprecated_tags,
                    tags,
                    message,
                }
            },
        )
}

/// Any v1 envelope that has what its event type requires.
pub(crate) fn v1_envelope() -> impl Strategy<Value = events::Envelope> {
    let uuid = (0..3u64, any::<u64>()).prop_map(|(low, high)| events::Uuid {
        low,
        high: if low == 0 { 0 } else { high },
    });
    let http = (
        (any::<i64>(), any::<i64>(), uuid.clone(), 0..4, 0..46),
        (text(), text(), text(), any::<i32>(), any::<i64>()),
        (
            option::of(uuid),
            option::of(any::<i32>()),
            option::of(text()),
            vec(text(), 0..3),
        ),
    )
        .prop_map(|(first, second, third)| {
            let (start_timestamp, stop_timestamp, request_id, peer_type, method) = first;
            let (uri, remote_address, user_agent, status_code, content_length) = second;
            let (application_id, instance_index, instance_id, forwarded) = third;
            events::Envelope {
                event_type: 4,
                http_start_stop: Some(events::HttpStartStop {
                    start_timestamp,
                    stop_timestamp,
                    request_id,
                    peer_type,
                    method,
                    uri,
                    remote_address,
                    user_agent,
                    status_code,
                    content_length,
                    application_id,
                    instance_index,
                    instance_id,
                    forwarded,
                }),
                ..Default::default()
            }
        });
    let log = (
        vec(any::<u8>(), 0..100),
        0..4,
        any::<i64>(),
        option::of(text()),
        option::of(text()),
        option::of(text()),
    )
        .prop_map(
            |(message, message_type, timestamp, app_id, source_type, source_instance)| events::Envelope {
                event_type: 5,
                log_message: Some(events::LogMessage {
                    message: message.into(),
                    message_type,
                    timestamp,
                    app_id,
                    source_type,
                    source_instance,
                }),
                ..Default::default()
            },
        );
    let value = (text(), number(), text()).prop_map(|(name, value, unit)| events::Envelope {
        event_type: 6,
        value_metric: Some(events::ValueMetric { name, value, unit }),
        ..Default::default()
    });
    let counter = (text(), any::<u64>(), option::of(any::<u64>())).prop_map(|(name, delta, total)| events::Envelope {
        event_type: 7,
        counter_event: Some(events::CounterEvent { name, delta, total }),
        ..Default::default()
    });
    let error = (text(), any::<i32>(), text()).prop_map(|(source, code, message)| events::Envelope {
        event_type: 8,
        error: Some(events::Error { source, code, message }),
        ..Default::default()
    });
    let container = (
        (text(), any::<i32>(), number(), any::<u64>(), any::<u64>()),
        (option::of(any::<u64>()), option::of(any::<u64>())),
    )
        .prop_map(|(first, (memory_bytes_quota, disk_bytes_quota))| {
            let (application_id, instance_index, cpu_percentage, memory_bytes, disk_bytes) = first;
            events::Envelope {
                event_type: 9,
                container_metric: Some(events::ContainerMetric {
                    application_id,
                    instance_index,
                    cpu_percentage,
                    memory_bytes,
                    disk_bytes,
                    memory_bytes_quota,
                    disk_bytes_quota,
                }),
                ..Default::default()
            }
        });
    (
        prop_oneof![http, log, value, counter, error, container],
        text(),
        option::of(any::<i64>()),
        [
            option::of(text()),
            option::of(text()),
            option::of(text()),
            option::of(text()),
        ],
        btree_map(key(), text(), 0..12),
    )
        .prop_map(
            |(payload, origin, timestamp, [deployment, job, index, ip], tags)| events::Envelope {
                origin,
                timestamp,
                deployment,
                job,
                index,
                ip,
                tags,
                ..payload
            },
        )
}

/// Shuffles the fields of a message. Their order has no meaning but for repeated fields.
pub(crate) fn shuffled(message: &[u8]) -> impl Strategy<Value = Vec<u8>> + use<> {
    Just(split(message)).prop_shuffle().prop_map(|fields| fields.concat())
}

/// Returns the encoded fields of a message.
pub(crate) fn split(message: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = Fields::new(message);
    let mut split = Vec::new();
    loop {
        let start = fields.offset();
        let Some(Ok(_)) = fields.next() else { return split };
        split.push(message[start..fields.offset()].to_vec());
    }
}

/// Bytes that are probably no valid message: noise, and messages that are cut, changed, joined or wrapped.
pub(crate) fn arbitrary_bytes(messages: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changed = (vec(messages, 1..3), any::<prop::sample::Index>(), any::<u8>(), 0..5).prop_map(
        |(messages, index, byte, how)| {
            let mut bytes = messages.concat();
            if !bytes.is_empty() {
                let at = index.index(bytes.len());
                match how {
                    0 => bytes.truncate(at),
                    1 => bytes[at] = byte,
                    2 => bytes.insert(at, byte),
                    3 => drop(bytes.remove(at)),
                    // A length prefix of nearly 2^35.
                    _ => drop(bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x7f])),
                }
            }
            bytes
        },
    );
    let wrapped = (vec(any::<u8>(), 0..8), 1u32..18, 0..60).prop_map(|(mut bytes, field, depth)| {
        for _ in 0..depth {
            let mut outer = Vec::new();
            crate::wire::put_bytes(&mut outer, field, &bytes);
            bytes = outer;
        }
        bytes
    });
    prop_oneof![4 => changed, 1 => vec(any::<u8>(), 0..200), 1 => wrapped]
}
