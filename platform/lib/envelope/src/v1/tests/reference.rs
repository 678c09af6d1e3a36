//! The conversions of [`crate::v1`] on owned types, written from the contract without regard to speed.

use std::collections::BTreeMap;

use weir_proto::events;
use weir_proto::loggregator_v2::{self as v2, envelope::Message, value::Data};

type Tags = BTreeMap<String, String>;

const CONTAINER: [&str; 5] = ["cpu", "memory", "disk", "memory_quota", "disk_quota"];

fn printed(value: &v2::Value) -> Option<String> {
    match value.data.as_ref()? {
        Data::Text(text) => Some(text.clone()),
        Data::Integer(value) => Some(value.to_string()),
        Data::Decimal(value) if value.is_nan() => Some("NaN".to_owned()),
        Data::Decimal(value) if value.is_infinite() => Some(if *value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()),
        Data::Decimal(value) => Some(format!("{value:.6}")),
    }
}

fn tag(envelope: &v2::Envelope, key: &str) -> String {
    envelope
        .tags
        .get(key)
        .cloned()
        .or_else(|| envelope.deprecated_tags.get(key).and_then(printed))
        .unwrap_or_default()
}

fn base(envelope: &v2::Envelope, event_type: i32, remove: &[&str]) -> events::Envelope {
    let mut tags: Tags = envelope.tags.clone();
    tags.extend(
        envelope
            .deprecated_tags
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), printed(value)?))),
    );
    if !envelope.source_id.is_empty() {
        tags.insert("source_id".to_owned(), envelope.source_id.clone());
    }
    for key in remove
        .iter()
        .chain(&["__v1_type", "origin", "deployment", "job", "index", "ip"])
    {
        tags.remove(*key);
    }
    events::Envelope {
        origin: tag(envelope, "origin"),
        event_type,
        timestamp: Some(envelope.timestamp),
        deployment: Some(tag(envelope, "deployment")),
        job: Some(tag(envelope, "job")),
        index: Some(tag(envelope, "index")),
        ip: Some(tag(envelope, "ip")),
        tags,
        ..Default::default()
    }
}

fn with_instance(mut envelope: events::Envelope, instance_id: &str) -> events::Envelope {
    if !instance_id.is_empty() {
        envelope.tags.insert("instance_id".to_owned(), instance_id.to_owned());
    }
    envelope
}

fn uuid(text: &str) -> Option<events::Uuid> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let digits: Vec<u8> = [&bytes[..8], &bytes[9..13], &bytes[14..18], &bytes[19..23], &bytes[24..]].concat();
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let digits = String::from_utf8(digits).unwrap();
    let half = |from: usize| u64::from_str_radix(&digits[from..from + 16], 16).unwrap().swap_bytes();
    Some(events::Uuid {
        low: half(0),
        high: half(16),
    })
}

fn uuid_text(uuid: &events::Uuid) -> String {
    let digits = format!("{:016x}{:016x}", uuid.low.swap_bytes(), uuid.high.swap_bytes());
    [
        &digits[..8],
        &digits[8..12],
        &digits[12..16],
        &digits[16..20],
        &digits[20..],
    ]
    .join("-")
}

fn integer(text: &str) -> i64 {
    text.parse().unwrap_or(0)
}

#[expect(clippy::cast_possible_truncation, reason = "the original cuts it")]
fn cut(value: i64) -> i32 {
    value as i32
}

fn is_container(gauge: &v2::Gauge) -> bool {
    CONTAINER.iter().all(|name| {
        gauge
            .metrics
            .get(*name)
            .is_some_and(|metric| !(metric.unit.is_empty() && metric.value == 0.0))
    })
}

pub(super) fn lost_metrics(envelope: &v2::Envelope) -> usize {
    match &envelope.message {
        Some(Message::Gauge(gauge)) if is_container(gauge) => gauge
            .metrics
            .keys()
            .filter(|name| !CONTAINER.contains(&&***name) && *name != "instance_index")
            .count(),
        _ => 0,
    }
}

/// Returns the v1 messages of an envelope; none where it has no v1 form.
pub(super) fn to_v1(envelope: &v2::Envelope) -> Vec<events::Envelope> {
    let index = envelope.instance_id.parse().unwrap_or(0);
    match &envelope.message {
        Some(Message::Log(log)) if tag(envelope, "__v1_type") == "Error" => vec![events::Envelope {
            error: Some(events::Error {
                source: tag(envelope, "source"),
                code: cut(integer(&tag(envelope, "code"))),
                message: String::from_utf8_lossy(&log.payload).into_owned(),
            }),
            ..base(envelope, 8, &["source", "code"])
        }],
        Some(Message::Log(log)) => vec![events::Envelope {
            log_message: Some(events::LogMessage {
                message: log.payload.clone(),
                message_type: if log.r#type == 0 { 1 } else { 2 },
                timestamp: envelope.timestamp,
                app_id: Some(envelope.source_id.clone()),
                source_type: Some(tag(envelope, "source_type")),
                source_instance: Some(envelope.instance_id.clone()),
            }),
            ..base(envelope, 5, &["source_type"])
        }],
        Some(Message::Counter(counter)) => vec![events::Envelope {
            counter_event: Some(events::CounterEvent {
                name: counter.name.clone(),
                delta: counter.delta,
                total: Some(counter.total),
            }),
            ..with_instance(base(envelope, 7, &[]), &envelope.instance_id)
        }],
        Some(Message::Gauge(gauge)) if is_container(gauge) => {
            let value = |name: &str| gauge.metrics[name].value;
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            let size = |name: &str| value(name) as u64;
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            let given = gauge.metrics.get("instance_index").map(|metric| metric.value as i32);
            vec![events::Envelope {
                container_metric: Some(events::ContainerMetric {
                    application_id: envelope.source_id.clone(),
                    instance_index: given.unwrap_or(index),
                    cpu_percentage: value("cpu"),
                    memory_bytes: size("memory"),
                    disk_bytes: size("disk"),
                    memory_bytes_quota: Some(size("memory_quota")),
                    disk_bytes_quota: Some(size("disk_quota")),
                }),
                ..base(envelope, 9, &[])
            }]
        }
        Some(Message::Gauge(gauge)) => gauge
            .metrics
            .iter()
            .map(|(name, metric)| events::Envelope {
                value_metric: Some(events::ValueMetric {
                    name: name.clone(),
                    value: metric.value,
                    unit: metric.unit.clone(),
                }),
                ..with_instance(base(envelope, 6, &[]), &envelope.instance_id)
            })
            .collect(),
        Some(Message::Timer(timer)) => {
            let tag = |key| tag(envelope, key);
            let method = events::Method::from_str_name(&tag("method"));
            let peer_type = events::PeerType::from_str_name(&tag("peer_type"));
            let (Some(request_id), Some(peer_type), Some(method)) = (uuid(&tag("request_id")), peer_type, method)
            else {
                return Vec::new();
            };
            vec![events::Envelope {
                http_start_stop: Some(events::HttpStartStop {
                    start_timestamp: timer.start,
                    stop_timestamp: timer.stop,
                    request_id,
                    peer_type: peer_type.into(),
                    method: method.into(),
                    uri: tag("uri"),
                    remote_address: tag("remote_address"),
                    user_agent: tag("user_agent"),
                    status_code: cut(integer(&tag("status_code"))),
                    content_length: integer(&tag("content_length")),
                    application_id: uuid(&envelope.source_id),
                    instance_index: Some(index),
                    instance_id: Some(tag("routing_instance_id")),
                    forwarded: tag("forwarded").split('\n').map(str::to_owned).collect(),
                }),
                ..base(
                    envelope,
                    4,
                    &[
                        "request_id",
                        "peer_type",
                        "method",
                        "uri",
                        "remote_address",
                        "user_agent",
                        "status_code",
                        "content_length",
                        "routing_instance_id",
                        "forwarded",
                    ],
                )
            }]
        }
        Some(Message::Event(_)) | None => Vec::new(),
    }
}

/// Returns the v2 form of a v1 envelope, which must have the payload of its type.
pub(super) fn from_v1(envelope: &events::Envelope) -> v2::Envelope {
    let mut tags: Tags = envelope.tags.clone();
    let event_type = events::envelope::EventType::try_from(envelope.event_type).unwrap();
    for (key, value) in [
        ("origin", &*envelope.origin),
        ("deployment", envelope.deployment()),
        ("job", envelope.job()),
        ("index", envelope.index()),
        ("ip", envelope.ip()),
        ("__v1_type", event_type.as_str_name()),
    ] {
        tags.insert(key.to_owned(), value.to_owned());
    }
    let mut source_id = tags
        .remove("source_id")
        .unwrap_or_else(|| format!("{}/{}", envelope.deployment(), envelope.job()));
    let instance_tag = envelope.tags.get("instance_id").cloned().unwrap_or_default();
    let mut set = |key: &str, value: String| drop(tags.insert(key.to_owned(), value));
    let or = |own: &str, source_id: &str| {
        if own.is_empty() {
            source_id.to_owned()
        } else {
            own.to_owned()
        }
    };
    let instance_id;
    let message;
    if let Some(log) = &envelope.log_message {
        set("source_type", log.source_type().to_owned());
        instance_id = log.source_instance().to_owned();
        source_id = or(log.app_id(), &source_id);
        message = Message::Log(v2::Log {
            payload: log.message.clone(),
            r#type: i32::from(log.message_type == 2),
        });
    } else if let Some(http) = &envelope.http_start_stop {
        let app = http
            .application_id
            .as_ref()
            .filter(|id| id.low != 0 || id.high != 0)
            .map(uuid_text);
        source_id = or(&app.unwrap_or_default(), &source_id);
        instance_id = http.instance_index().to_string();
        let name = |name: Option<&str>, number: i32| name.map_or_else(|| number.to_string(), str::to_owned);
        let peer_type = events::PeerType::try_from(http.peer_type).ok();
        let method = events::Method::try_from(http.method).ok();
        set("request_id", uuid_text(&http.request_id));
        set(
            "peer_type",
            name(peer_type.map(|known| known.as_str_name()), http.peer_type),
        );
        set("method", name(method.map(|known| known.as_str_name()), http.method));
        set("uri", http.uri.clone());
        set("remote_address", http.remote_address.clone());
        set("user_agent", http.user_agent.clone());
        set("status_code", http.status_code.to_string());
        set("content_length", http.content_length.to_string());
        set("routing_instance_id", http.instance_id().to_owned());
        set("forwarded", http.forwarded.join("\n"));
        message = Message::Timer(v2::Timer {
            name: "http".to_owned(),
            start: http.start_timestamp,
            stop: http.stop_timestamp,
        });
    } else if let Some(metric) = &envelope.value_metric {
        instance_id = instance_tag;
        let value = v2::GaugeValue {
            unit: metric.unit.clone(),
            value: metric.value,
        };
        message = Message::Gauge(v2::Gauge {
            metrics: [(metric.name.clone(), value)].into(),
        });
    } else if let Some(counter) = &envelope.counter_event {
        instance_id = instance_tag;
        tags.remove("instance_id");
        message = Message::Counter(v2::Counter {
            name: counter.name.clone(),
            delta: counter.delta,
            total: counter.total(),
        });
    } else if let Some(error) = &envelope.error {
        instance_id = String::new();
        set("source", error.source.clone());
        set("code", error.code.to_string());
        message = Message::Log(v2::Log {
            payload: error.message.clone().into(),
            r#type: 0,
        });
    } else {
        let metric = envelope.container_metric.as_ref().unwrap();
        source_id = or(&metric.application_id, &source_id);
        instance_id = metric.instance_index.to_string();
        let values = [
            ("cpu", "percentage", metric.cpu_percentage),
            ("memory", "bytes", metric.memory_bytes as f64),
            ("disk", "bytes", metric.disk_bytes as f64),
            ("memory_quota", "bytes", metric.memory_bytes_quota() as f64),
            ("disk_quota", "bytes", metric.disk_bytes_quota() as f64),
        ];
        let metrics = values
            .map(|(name, unit, value)| {
                (
                    name.to_owned(),
                    v2::GaugeValue {
                        unit: unit.to_owned(),
                        value,
                    },
                )
            })
            .into();
        message = Message::Gauge(v2::Gauge { metrics });
    }
    v2::Envelope {
        timestamp: envelope.timestamp(),
        source_id,
        instance_id,
        deprecated_tags: BTreeMap::new(),
        tags,
        message: Some(message),
    }
}
