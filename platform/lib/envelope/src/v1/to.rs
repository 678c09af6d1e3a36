//! Converts v2 envelopes to v1.
//!
//! A v1 envelope is written in two parts. The base (tags, origin, timestamp and the other top-level fields) is common
//! to all messages that one envelope becomes. The payload follows, and is cut off again before the next message. Tags
//! for which v1 has no field are copied as encoded map entries, without reading their values.

use thiserror::Error;

use super::known::{KnownTag, KnownTags};
use super::method::{method_number, peer_type_number};
use super::uuid::Uuid;
use super::{EventType, field};
use crate::batch::Kind;
use crate::tags::KeySet;
use crate::view::{EnvelopeView, GaugeMetrics, Message, Metric, Stream, Summary, Tags};
use crate::wire::{
    Fields, Value, field_len, put_bytes, put_entry, put_head, put_message, put_present_double, put_present_uint,
    varint_len,
};

/// The most bytes that one envelope may become, all of its messages together.
///
/// A gauge becomes one message for each metric, and each message carries all of the tags. Without a limit, an envelope
/// of a few megabytes could become terabytes.
const MAX_OUTPUT: usize = 64 << 20;

/// The outcome of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Converted {
    /// The number of v1 messages that the envelope became.
    pub messages: usize,
    /// The number of metrics that were lost because a container metric has no field for them.
    pub lost_metrics: usize,
}

/// The reason why an envelope has no v1 form. The caller counts the envelope as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unconvertible {
    /// v1 has no events.
    #[error("v1 has no form for events")]
    Event,
    /// The envelope has no payload, or is a gauge without metrics.
    #[error("envelope has no payload")]
    Empty,
    /// v1 has timers only for HTTP requests, and a tag that such a timer requires is missing or invalid.
    #[error("timer has no valid tag `{0}`")]
    Timer(&'static str),
    /// A gauge would become more than 64 MiB, because its tags would be repeated for each of its metrics.
    #[error("gauge would become `{messages}` messages, each with `{bytes}` bytes of tags")]
    TooLarge {
        /// The number of messages that the gauge would become.
        messages: usize,
        /// The size of the part that all messages have in common, in bytes.
        bytes: usize,
    },
}

/// Converts `envelope` and passes each resulting encoded `events.Envelope` to `sink`.
///
/// Callers that convert many envelopes use a [`Converter`], which keeps its buffer from one to the next.
///
/// # Errors
/// If the envelope has no v1 form; `sink` is then not called.
pub fn to_v1(envelope: EnvelopeView<'_>, sink: impl FnMut(&[u8])) -> Result<Converted, Unconvertible> {
    Converter::new().to_v1(envelope, sink)
}

/// Converts v2 envelopes one after the other, with one buffer.
#[derive(Debug, Default)]
pub struct Converter {
    out: Vec<u8>,
}

impl Converter {
    /// Returns a converter with an empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self { out: Vec::new() }
    }

    /// Converts `envelope` and passes each resulting encoded `events.Envelope` to `sink`.
    ///
    /// # Errors
    /// If the envelope has no v1 form; `sink` is then not called.
    pub fn to_v1(
        &mut self,
        envelope: EnvelopeView<'_>,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<Converted, Unconvertible> {
        let out = &mut self.out;
        out.clear();
        out.reserve(envelope.bytes().len() + 96);
        let summary = envelope.summary();
        match summary.message.clone() {
            Message::Log { payload, stream } => {
                let known = put_tags(out, &summary, false);
                // v2 has no errors. A v1 error became a log with this tag, and becomes an error again.
                if *known.field(KnownTag::V1Type) == *b"Error" {
                    put_remaining_tags(out, &known, &[KnownTag::SourceType]);
                    put_envelope(out, &summary, &known, EventType::Error);
                    put_error(out, &known, payload);
                } else {
                    put_remaining_tags(out, &known, &[KnownTag::Source, KnownTag::Code]);
                    put_envelope(out, &summary, &known, EventType::LogMessage);
                    put_log(out, &summary, &known, payload, stream);
                }
            }
            Message::Counter { name, delta, total } => {
                let known = put_tags(out, &summary, true);
                put_envelope(out, &summary, &known, EventType::CounterEvent);
                put_message(out, field::COUNTER_EVENT, |out| {
                    put_bytes(out, 1, name.as_bytes());
                    put_present_uint(out, 2, delta);
                    put_present_uint(out, 3, total);
                });
            }
            Message::Timer { start, stop, .. } => {
                let known = put_tags(out, &summary, false);
                put_envelope(out, &summary, &known, EventType::HttpStartStop);
                put_http(out, &summary, &known, start, stop)?;
            }
            Message::Gauge(metrics) => return put_gauge(out, &summary, metrics, sink),
            Message::Event { .. } => return Err(Unconvertible::Event),
            Message::None => return Err(Unconvertible::Empty),
        }
        sink(out);
        Ok(Converted {
            messages: 1,
            lost_metrics: 0,
        })
    }
}

fn put_gauge(
    out: &mut Vec<u8>,
    summary: &Summary<'_>,
    mut metrics: GaugeMetrics<'_>,
    mut sink: impl FnMut(&[u8]),
) -> Result<Converted, Unconvertible> {
    let first = metrics.next().ok_or(Unconvertible::Empty)?;
    // Most gauges have one metric, and then need no list.
    let Some(second) = metrics.next() else {
        let known = put_tags(out, summary, true);
        put_envelope(out, summary, &known, EventType::ValueMetric);
        put_value_metric(out, &first);
        sink(out);
        return Ok(Converted {
            messages: 1,
            lost_metrics: 0,
        });
    };
    // From two metrics on the original decodes them into a map: sorted here, so that the order is the same every time.
    let mut metrics: Vec<Metric<'_>> = [first, second].into_iter().chain(metrics).collect();
    keep_last_of_each_name(&mut metrics);
    if let Some(container) = Container::of(&metrics, summary.instance_id) {
        let known = put_tags(out, summary, false);
        put_envelope(out, summary, &known, EventType::ContainerMetric);
        container.put(out, summary.source_id);
        sink(out);
        return Ok(Converted {
            messages: 1,
            lost_metrics: metrics.len() - container.taken,
        });
    }
    let known = put_tags(out, summary, true);
    put_envelope(out, summary, &known, EventType::ValueMetric);
    let base = out.len();
    // Checked before the first message is passed on, so that a refused envelope has no output.
    if base.saturating_mul(metrics.len()) > MAX_OUTPUT {
        return Err(Unconvertible::TooLarge {
            messages: metrics.len(),
            bytes: base,
        });
    }
    for metric in &metrics {
        out.truncate(base);
        put_value_metric(out, metric);
        sink(out);
    }
    Ok(Converted {
        messages: metrics.len(),
        lost_metrics: 0,
    })
}

/// Copies the tags for which v1 has no field, and returns the others. With `instance_tag` the instance id becomes a
/// tag.
fn put_tags<'a>(out: &mut Vec<u8>, summary: &Summary<'a>, instance_tag: bool) -> KnownTags<'a> {
    let mut known = KnownTags::new();
    let instance_tag = instance_tag && !summary.instance_id.is_empty();
    // These tags are written from the envelope's own fields at the end, which win over tags of the same key.
    let replaced = |key: &[u8]| match key {
        b"source_id" => !summary.source_id.is_empty(),
        b"instance_id" => instance_tag,
        _ => false,
    };
    let known_of = |key: &[u8]| {
        KnownTag::of_envelope(key).or_else(|| match summary.kind {
            Kind::Log => KnownTag::of_log(key),
            Kind::Timer => KnownTag::of_timer(key),
            _ => None,
        })
    };
    // A deprecated tag replaces a preferred tag of the same key, unless its value is not set.
    let winners = KeySet::of(
        summary
            .deprecated_tags()
            .filter(|(_, value)| value.is_some())
            .map(|(key, _)| key.as_bytes()),
    );
    for field in Fields::new(summary.tags_bytes()) {
        let Ok((crate::view::field::TAGS, Value::Bytes(entry))) = field else {
            continue;
        };
        let (key, value) = Tags::raw_entry(entry);
        if let Some(tag) = known_of(key) {
            known.set(tag, value);
        } else if !replaced(key) && (winners.is_empty() || !winners.contains(key)) {
            put_bytes(out, field::TAGS, entry);
        }
    }
    for (key, value) in summary.deprecated_tags() {
        let key = key.as_bytes();
        if let Some(tag) = known_of(key) {
            known.set_deprecated(tag, value);
        } else if value.is_some() && !replaced(key) {
            put_entry(out, field::TAGS, key, value.to_text().as_bytes());
        }
    }
    if !summary.source_id.is_empty() {
        put_entry(out, field::TAGS, b"source_id", summary.source_id.as_bytes());
    }
    if instance_tag {
        put_entry(out, field::TAGS, b"instance_id", summary.instance_id.as_bytes());
    }
    known
}

/// Copies known tags for which this v1 message has no field, although another v1 message of its kind has one.
fn put_remaining_tags(out: &mut Vec<u8>, known: &KnownTags<'_>, remaining: &[KnownTag]) {
    for tag in remaining {
        if let Some(value) = known.entry(*tag) {
            put_entry(out, field::TAGS, tag.key().as_bytes(), &value);
        }
    }
}

/// Writes the fields that every v1 envelope has. Empty ones are written too, because the original does so and because
/// the first two are required.
fn put_envelope(out: &mut Vec<u8>, summary: &Summary<'_>, known: &KnownTags<'_>, event_type: EventType) {
    put_tag_field(out, field::ORIGIN, known, KnownTag::Origin);
    put_present_uint(out, field::EVENT_TYPE, event_type as u64);
    put_present_uint(out, field::TIMESTAMP, summary.timestamp.cast_unsigned());
    put_tag_field(out, field::DEPLOYMENT, known, KnownTag::Deployment);
    put_tag_field(out, field::JOB, known, KnownTag::Job);
    put_tag_field(out, field::INDEX, known, KnownTag::Index);
    put_tag_field(out, field::IP, known, KnownTag::Ip);
}

fn put_tag_field(out: &mut Vec<u8>, number: u32, known: &KnownTags<'_>, tag: KnownTag) {
    put_bytes(out, number, &known.field(tag));
}

fn put_log(out: &mut Vec<u8>, summary: &Summary<'_>, known: &KnownTags<'_>, payload: &[u8], stream: Stream) {
    let source_type = known.field(KnownTag::SourceType);
    let timestamp = summary.timestamp.cast_unsigned();
    // Computed before writing, so that a log, which may be large, is not moved to make room for its length.
    let len = field_len(1, payload.len())
        + 2
        + (1 + varint_len(timestamp))
        + field_len(4, summary.source_id.len())
        + field_len(5, source_type.len())
        + field_len(6, summary.instance_id.len());
    put_head(out, field::LOG_MESSAGE, len);
    put_bytes(out, 1, payload);
    put_present_uint(out, 2, if stream == Stream::Out { 1 } else { 2 });
    put_present_uint(out, 3, timestamp);
    put_bytes(out, 4, summary.source_id.as_bytes());
    put_bytes(out, 5, &source_type);
    put_bytes(out, 6, summary.instance_id.as_bytes());
}

fn put_error(out: &mut Vec<u8>, known: &KnownTags<'_>, payload: &[u8]) {
    let code = int32(integer(known, KnownTag::Code));
    // A string of proto2 may be any bytes, but some readers check it for UTF-8.
    let message = String::from_utf8_lossy(payload);
    put_message(out, field::ERROR, |out| {
        put_tag_field(out, 1, known, KnownTag::Source);
        put_present_uint(out, 2, code);
        put_bytes(out, 3, message.as_bytes());
    });
}

fn put_value_metric(out: &mut Vec<u8>, metric: &Metric<'_>) {
    put_message(out, field::VALUE_METRIC, |out| {
        put_bytes(out, 1, metric.name.as_bytes());
        put_present_double(out, 2, metric.value);
        put_bytes(out, 3, metric.unit.as_bytes());
    });
}

fn put_http(
    out: &mut Vec<u8>,
    summary: &Summary<'_>,
    known: &KnownTags<'_>,
    start: i64,
    stop: i64,
) -> Result<(), Unconvertible> {
    let required = |tag: KnownTag| Unconvertible::Timer(tag.key());
    let request_id = Uuid::parse(&known.text(KnownTag::RequestId)).ok_or_else(|| required(KnownTag::RequestId))?;
    let peer_type = peer_type_number(&known.text(KnownTag::PeerType)).ok_or_else(|| required(KnownTag::PeerType))?;
    let method = method_number(&known.text(KnownTag::Method)).ok_or_else(|| required(KnownTag::Method))?;
    put_message(out, field::HTTP_START_STOP, |out| {
        put_present_uint(out, 1, start.cast_unsigned());
        put_present_uint(out, 2, stop.cast_unsigned());
        put_uuid(out, 3, request_id);
        put_present_uint(out, 4, peer_type);
        put_present_uint(out, 5, method);
        put_tag_field(out, 6, known, KnownTag::Uri);
        put_tag_field(out, 7, known, KnownTag::RemoteAddress);
        put_tag_field(out, 8, known, KnownTag::UserAgent);
        put_present_uint(out, 9, int32(integer(known, KnownTag::StatusCode)));
        put_present_uint(out, 10, integer(known, KnownTag::ContentLength).cast_unsigned());
        // Sources that are no apps, such as components of the platform, have no UUID.
        if let Some(application_id) = Uuid::parse(summary.source_id) {
            put_uuid(out, 12, application_id);
        }
        put_present_uint(out, 13, i64::from(instance_index(summary.instance_id)).cast_unsigned());
        put_tag_field(out, 14, known, KnownTag::RoutingInstanceId);
        // Without the tag there is one empty value, as in the original.
        for forwarded in known.text(KnownTag::Forwarded).split('\n') {
            put_bytes(out, 15, forwarded.as_bytes());
        }
    });
    Ok(())
}

fn put_uuid(out: &mut Vec<u8>, number: u32, uuid: Uuid) {
    put_message(out, number, |out| {
        put_present_uint(out, 1, uuid.low);
        put_present_uint(out, 2, uuid.high);
    });
}

/// The metrics of a gauge that make it a v1 container metric.
struct Container {
    values: [f64; 5],
    instance_index: i32,
    /// The number of the gauge's metrics that the container metric holds.
    taken: usize,
}

impl Container {
    const NAMES: [&str; 5] = ["cpu", "memory", "disk", "memory_quota", "disk_quota"];

    /// Returns the container metric of `metrics`, which are sorted by name. All five metrics must be present, and each
    /// must have a unit or a value other than zero, as in the original.
    fn of(metrics: &[Metric<'_>], instance_id: &str) -> Option<Self> {
        let find = |name: &str| {
            metrics
                .binary_search_by_key(&name, |metric| metric.name)
                .ok()
                .map(|index| &metrics[index])
        };
        let mut values = [0.0; 5];
        for (slot, name) in values.iter_mut().zip(Self::NAMES) {
            let metric = find(name)?;
            // The original cannot tell such a metric from one that is missing.
            if metric.unit.is_empty() && metric.value == 0.0 {
                return None;
            }
            *slot = metric.value;
        }
        let (instance_index, taken) = match find("instance_index") {
            #[expect(clippy::cast_possible_truncation, reason = "saturates")]
            Some(metric) => (metric.value as i32, 6),
            None => (instance_index(instance_id), 5),
        };
        Some(Self {
            values,
            instance_index,
            taken,
        })
    }

    fn put(&self, out: &mut Vec<u8>, source_id: &str) {
        let [cpu, counts @ ..] = self.values;
        put_message(out, field::CONTAINER_METRIC, |out| {
            put_bytes(out, 1, source_id.as_bytes());
            put_present_uint(out, 2, i64::from(self.instance_index).cast_unsigned());
            put_present_double(out, 3, cpu);
            for (number, count) in (4..).zip(counts) {
                #[expect(clippy::cast_possible_truncation, reason = "saturates")]
                put_present_uint(out, number, count as u64);
            }
        });
    }
}

/// Sorts metrics by name and keeps the last of those that share a name, as a map does.
fn keep_last_of_each_name(metrics: &mut Vec<Metric<'_>>) {
    metrics.sort_by_key(|metric| metric.name);
    metrics.dedup_by(|next, kept| {
        let same = next.name == kept.name;
        if same {
            *kept = *next;
        }
        same
    });
}

fn instance_index(instance_id: &str) -> i32 {
    instance_id.parse().unwrap_or_default()
}

/// Returns the value of a tag as an integer; zero if it is missing or not an integer.
fn integer(known: &KnownTags<'_>, tag: KnownTag) -> i64 {
    known.text(tag).parse().unwrap_or_default()
}

/// Returns an `int32` as its varint holds it: cut to 32 bits, then sign-extended to 64.
fn int32(value: i64) -> u64 {
    #[expect(clippy::cast_possible_truncation, reason = "the original cuts it too")]
    let value = value as i32;
    i64::from(value).cast_unsigned()
}
