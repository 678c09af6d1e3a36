//! Writes envelopes as protobuf JSON, for the RLP gateway and the REST interface of the log cache (logging §2).
//!
//! Field names are in snake case, 64-bit integers are strings, bytes are padded standard base64, and enums are written
//! by name. Fields at their default value are written; of the payloads, only the one that is present. Maps are sorted
//! by key. Clients refuse objects with a field that they do not know, so no field may be added.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::number::put_json_number;
use crate::view::{DeprecatedTags, EnvelopeView, GaugeMetrics, Message, TagValue, Tags};

/// Appends the JSON object `{"batch":[…]}` of the given envelopes to `out`.
pub fn write_batch<'a>(envelopes: impl IntoIterator<Item = EnvelopeView<'a>>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"batch\":[");
    for (index, envelope) in envelopes.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_envelope(&envelope, out);
    }
    out.extend_from_slice(b"]}");
}

/// Appends the JSON object of one envelope to `out`.
pub fn write_envelope(envelope: &EnvelopeView<'_>, out: &mut Vec<u8>) {
    let summary = envelope.summary();
    out.extend_from_slice(b"{\"timestamp\":");
    put_quoted(out, summary.timestamp);
    out.extend_from_slice(b",\"source_id\":");
    put_text(out, summary.source_id);
    out.extend_from_slice(b",\"instance_id\":");
    put_text(out, summary.instance_id);
    out.extend_from_slice(b",\"deprecated_tags\":");
    put_deprecated_tags(out, summary.deprecated_tags());
    out.extend_from_slice(b",\"tags\":");
    put_tags(out, summary.tags());
    match summary.message {
        Message::Log { payload, stream } => {
            out.extend_from_slice(b",\"log\":{\"payload\":\"");
            put_base64(out, payload);
            out.extend_from_slice(b"\",\"type\":");
            put_text(out, stream.as_str());
            out.push(b'}');
        }
        Message::Counter { name, delta, total } => {
            out.extend_from_slice(b",\"counter\":{\"name\":");
            put_text(out, name);
            out.extend_from_slice(b",\"delta\":");
            put_quoted(out, delta);
            out.extend_from_slice(b",\"total\":");
            put_quoted(out, total);
            out.push(b'}');
        }
        Message::Gauge(metrics) => {
            out.extend_from_slice(b",\"gauge\":{\"metrics\":");
            put_metrics(out, metrics);
            out.push(b'}');
        }
        Message::Timer { name, start, stop } => {
            out.extend_from_slice(b",\"timer\":{\"name\":");
            put_text(out, name);
            out.extend_from_slice(b",\"start\":");
            put_quoted(out, start);
            out.extend_from_slice(b",\"stop\":");
            put_quoted(out, stop);
            out.push(b'}');
        }
        Message::Event { title, body } => {
            out.extend_from_slice(b",\"event\":{\"title\":");
            put_text(out, title);
            out.extend_from_slice(b",\"body\":");
            put_text(out, body);
            out.push(b'}');
        }
        Message::None => {}
    }
    out.push(b'}');
}

fn put_tags(out: &mut Vec<u8>, tags: Tags<'_>) {
    put_map(out, tags.collect(), |out, value| put_text(out, value));
}

fn put_deprecated_tags(out: &mut Vec<u8>, tags: DeprecatedTags<'_>) {
    put_map(out, tags.collect(), |out, value| {
        out.push(b'{');
        match value {
            TagValue::Text(text) => {
                out.extend_from_slice(b"\"text\":");
                put_text(out, text);
            }
            TagValue::Integer(value) => {
                out.extend_from_slice(b"\"integer\":");
                put_quoted(out, *value);
            }
            TagValue::Decimal(value) => {
                out.extend_from_slice(b"\"decimal\":");
                put_number(out, *value);
            }
            TagValue::None => {}
        }
        out.push(b'}');
    });
}

fn put_metrics(out: &mut Vec<u8>, metrics: GaugeMetrics<'_>) {
    put_map(
        out,
        metrics.map(|metric| (metric.name, metric)).collect(),
        |out, metric| {
            out.extend_from_slice(b"{\"unit\":");
            put_text(out, metric.unit);
            out.extend_from_slice(b",\"value\":");
            put_number(out, metric.value);
            out.push(b'}');
        },
    );
}

/// Appends an object with sorted keys. If a key occurs more than once on the wire, its last entry counts.
fn put_map<V>(out: &mut Vec<u8>, mut entries: Vec<(&str, V)>, put_value: impl Fn(&mut Vec<u8>, &V)) {
    // The sort is stable, so the last of equal keys is the last of the wire.
    entries.sort_by_key(|(key, _)| *key);
    out.push(b'{');
    let mut first = true;
    for (index, (key, value)) in entries.iter().enumerate() {
        if entries.get(index + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        put_text(out, key);
        out.push(b':');
        put_value(out, value);
    }
    out.push(b'}');
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing text to memory cannot fail");
}

/// Appends a 64-bit integer as a string, because many JSON readers hold numbers as doubles and would round it.
fn put_quoted(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    use std::io::Write as _;
    write!(out, "\"{value}\"").expect("writing to memory cannot fail");
}

fn put_number(out: &mut Vec<u8>, value: f64) {
    let mut text = String::new();
    if value.is_nan() {
        text.push_str("\"NaN\"");
    } else if value.is_infinite() {
        text.push_str(if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    } else {
        put_json_number(&mut text, value);
    }
    out.extend_from_slice(text.as_bytes());
}

fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let at = out.len();
    out.resize(at + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD
        .encode_slice(bytes, &mut out[at..])
        .expect("the room was measured");
    out.truncate(at + written);
}

#[cfg(test)]
mod tests;
