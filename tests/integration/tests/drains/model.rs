//! Computes what a receiver should parse from an envelope, by the contract (logging §13), without the product's code.

use std::collections::BTreeMap;

use chrono::DateTime;
use weir_proto::loggregator_v2::{Envelope, envelope::Message, log};
use weir_testkit::drains::{Parsed, Product};

/// Returns the messages of one envelope for a drain whose binding has this host name. The time stamps end at
/// microseconds.
pub(super) fn expected(envelope: &Envelope, hostname: &str, metadata: bool) -> Vec<Parsed> {
    let Some(message) = &envelope.message else {
        return Vec::new();
    };
    let base = Parsed {
        pri: 14,
        timestamp: instant(envelope.timestamp),
        hostname: host(envelope, hostname),
        app_name: envelope.source_id.chars().take(48).collect(),
        procid: format!("[{}]", envelope.instance_id),
        ..Parsed::default()
    };
    let with = |element: Option<(&str, Vec<(&str, String)>)>| {
        let mut structured_data = BTreeMap::new();
        if let Some((id, parameters)) = element {
            let parameters = parameters.into_iter().map(|(name, value)| (name.to_owned(), value));
            structured_data.insert(id.to_owned(), parameters.collect());
        }
        if metadata && !envelope.tags.is_empty() {
            let tags = envelope.tags.iter().map(|(name, value)| (short(name), value.clone()));
            structured_data.insert("tags@47450".to_owned(), tags.collect());
        }
        Parsed {
            structured_data,
            ..base.clone()
        }
    };
    match message {
        Message::Log(line) => {
            let mut message: Vec<u8> = line.payload.iter().copied().filter(|byte| *byte != 0).collect();
            if message.last() == Some(&b'\n') {
                message.pop();
            }
            vec![Parsed {
                pri: if line.r#type == i32::from(log::Type::Err) {
                    11
                } else {
                    14
                },
                procid: process(envelope),
                message,
                ..with(None)
            }]
        }
        Message::Counter(counter) => vec![with(Some((
            "counter@47450",
            vec![
                ("name", counter.name.clone()),
                ("total", counter.total.to_string()),
                ("delta", counter.delta.to_string()),
            ],
        )))],
        Message::Timer(timer) => vec![with(Some((
            "timer@47450",
            vec![
                ("name", timer.name.clone()),
                ("start", timer.start.to_string()),
                ("stop", timer.stop.to_string()),
            ],
        )))],
        Message::Event(event) => vec![with(Some((
            "event@47450",
            vec![("title", event.title.clone()), ("body", event.body.clone())],
        )))],
        Message::Gauge(gauge) => gauge
            .metrics
            .iter()
            .map(|(name, value)| {
                let parameters = vec![
                    ("name", name.clone()),
                    ("value", number(value.value)),
                    ("unit", value.unit.clone()),
                ];
                with(Some(("gauge@47450", parameters)))
            })
            .collect(),
    }
}

/// Replaces what a product cannot show unchanged, as that product does.
pub(super) fn as_shown_by(product: Product, mut parsed: Parsed) -> Parsed {
    if product == Product::SyslogNg {
        let mut shown = Vec::new();
        for chunk in parsed.message.utf8_chunks() {
            shown.extend_from_slice(chunk.valid().as_bytes());
            for byte in chunk.invalid() {
                shown.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
            }
        }
        parsed.message = shown;
    }
    parsed
}

/// Returns a time stamp as this model writes it: RFC 3339 in UTC with six digits.
pub(super) fn normal(timestamp: &str) -> String {
    DateTime::parse_from_rfc3339(timestamp).map_or_else(
        |error| format!("{timestamp}: {error}"),
        |time| time.to_utc().format("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
    )
}

/// Returns the parameter name of a tag. A name of more than 32 letters becomes its first 23 letters, `-`, and its
/// CRC-32 (docs/decisions/0007).
pub(super) fn short(name: &str) -> String {
    const KNOWN: &str = "a_name_that_is_longer_than_the_thirty_two_letters_of_the_rfc";
    match name.len() {
        ..=32 => name.to_owned(),
        _ if name == KNOWN => "a_name_that_is_longer_t-55255f32".to_owned(),
        _ => format!("{name} is not known"),
    }
}

fn instant(nanos: i64) -> String {
    DateTime::from_timestamp_nanos(nanos)
        .format("%Y-%m-%dT%H:%M:%S%.6f")
        .to_string()
}

/// Returns the host name `organization.space.app` from the tags, if one of them is there, or else `otherwise`.
fn host(envelope: &Envelope, otherwise: &str) -> String {
    let keys = ["organization_name", "space_name", "app_name"];
    if !keys.iter().any(|key| envelope.tags.contains_key(*key)) {
        return otherwise.to_owned();
    }
    let labels = keys.map(|key| label(envelope.tags.get(key).map(String::as_str).unwrap_or_default()));
    labels.join(".")
}

/// Returns a host name label: runs of spaces become a dash, other letters are removed, dashes at the end are removed,
/// at most 63 letters.
fn label(text: &str) -> String {
    let dashed = text.split_whitespace().collect::<Vec<_>>().join("-");
    let kept: String = dashed
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
        .collect();
    kept.trim_end_matches('-').chars().take(63).collect()
}

/// Returns the process id `[TYPE/INSTANCE]`.
fn process(envelope: &Envelope) -> String {
    let kind = envelope.tags.get("source_type").map(String::as_str).unwrap_or_default();
    let dashed = kind.split_whitespace().collect::<Vec<_>>().join("-");
    let kept: String = dashed.chars().filter(char::is_ascii_graphic).collect();
    let kind = kept.trim_end_matches('-').to_uppercase();
    if envelope.instance_id.is_empty() {
        format!("[{kind}]")
    } else {
        format!("[{kind}/{}]", envelope.instance_id)
    }
}

/// Formats a value as Go does.
fn number(value: f64) -> String {
    const KNOWN: [(f64, &str); 9] = [
        (0.0, "0"),
        (0.23, "0.23"),
        (-1.5, "-1.5"),
        (100.0, "100"),
        (123_456.0, "123456"),
        (1_234_567.0, "1.234567e+06"),
        (1e21, "1e+21"),
        (0.000_01, "1e-05"),
        (f64::MAX, "1.7976931348623157e+308"),
    ];
    let found = KNOWN.iter().find(|(known, _)| known.to_bits() == value.to_bits());
    found.map_or_else(|| format!("{value} is not known"), |(_, text)| (*text).to_owned())
}
