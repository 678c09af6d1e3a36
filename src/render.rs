//! Envelopes as text: what `weir tail` and `weir recent` print.
//!
//! ```text
//! 2026-01-03T10:11:12.345678+01:00 [APP/PROC/WEB/0] OUT GET /
//! 2026-01-03T10:11:12.345678+01:00 [-/0] GAUGE cpu=1.5 percentage, memory=1024 bytes {job="cell"}
//! ```
//!
//! With all sources mixed, the source id stands before the bracket. Log bodies are written byte for byte: what a program
//! wrote, control characters included, is what is shown. Everything else that a producer chose, such as names and tags, can
//! be made neutral for a terminal.

mod time;

use std::borrow::Cow;
use std::io::Write as _;

use weir_envelope::view::{EnvelopeView, Message, Stream, Summary};
use weir_telemetry::neutral;

pub(crate) use time::timestamp;

/// How the text looks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Terminal colours.
    pub(crate) colour: bool,
    /// Name the source of each line; not needed where only one is shown.
    pub(crate) source: bool,
    /// What is printed of each envelope.
    pub(crate) form: Form,
    /// Everything but the bodies of logs is made neutral.
    pub(crate) neutral: bool,
}

/// What is printed of each envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    /// A line for people.
    #[default]
    Line,
    /// The body of a log and nothing else; other kinds are left out.
    Body,
    /// One JSON object, as the log cache and the RLP gateway write it.
    Json,
}

/// Appends one envelope and its newline; returns whether the form shows it at all.
pub(crate) fn envelope(view: EnvelopeView<'_>, style: Style, text: &mut Vec<u8>) -> bool {
    match style.form {
        Form::Json => Paint(style).of_others(text, |text| weir_envelope::json::write_envelope(&view, text)),
        Form::Body => match view.message() {
            Message::Log { payload, .. } => text.extend_from_slice(payload),
            _ => return false,
        },
        Form::Line => line(&view.summary(), style, text),
    }
    text.push(b'\n');
    true
}

fn line(envelope: &Summary<'_>, style: Style, text: &mut Vec<u8>) {
    let paint = Paint(style);
    paint.write(text, DIM, |text| timestamp(envelope.timestamp, text));
    text.push(b' ');
    if style.source {
        paint.write(text, BOLD, |text| {
            paint.of_others(text, |text| {
                text.extend_from_slice(or_dash(envelope.source_id).as_bytes())
            });
        });
        text.push(b' ');
    }
    paint.write(text, CYAN, |text| {
        paint.of_others(text, |text| {
            text.push(b'[');
            let source_type = envelope.tag("source_type").unwrap_or_default();
            text.extend_from_slice(or_dash(&source_type).as_bytes());
            if !envelope.instance_id.is_empty() {
                text.push(b'/');
                text.extend_from_slice(envelope.instance_id.as_bytes());
            }
            text.push(b']');
        });
    });
    text.push(b' ');
    match &envelope.message {
        Message::Log {
            payload,
            stream: Stream::Out,
        } => {
            text.extend_from_slice(b"OUT ");
            text.extend_from_slice(payload);
        }
        Message::Log {
            payload,
            stream: Stream::Err,
        } => {
            paint.write(text, RED, |text| text.extend_from_slice(b"ERR"));
            text.push(b' ');
            text.extend_from_slice(payload);
        }
        message => {
            paint.write(text, BLUE, |text| {
                paint.of_others(text, |text| measured(message, text));
            });
            paint.of_others(text, |text| tags(envelope, text));
        }
    }
}

/// The kinds that are not logs.
fn measured(message: &Message<'_>, text: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let written = match message {
        Message::Counter { name, delta, total } => write!(text, "COUNTER {name}={total} (+{delta})"),
        Message::Gauge(metrics) => {
            text.extend_from_slice(b"GAUGE");
            for (index, metric) in metrics.clone().enumerate() {
                let comma = if index == 0 { " " } else { ", " };
                let space = if metric.unit.is_empty() { "" } else { " " };
                drop(write!(
                    text,
                    "{comma}{}={}{space}{}",
                    metric.name, metric.value, metric.unit
                ));
            }
            Ok(())
        }
        Message::Timer { name, start, stop } => {
            write!(text, "TIMER {name} {}", time::Span(stop.saturating_sub(*start)))
        }
        Message::Event { title, body } => write!(text, "EVENT {title}: {}", body.trim_end().replace('\n', " | ")),
        Message::Log { .. } | Message::None => write!(text, "EMPTY"),
    };
    drop(written);
}

/// The tags of a metric, sorted; `source_type` is in the bracket already.
fn tags(envelope: &Summary<'_>, text: &mut Vec<u8>) {
    let mut tags: Vec<(&str, Cow<'_, str>)> = envelope
        .tags()
        .map(|(key, value)| (key, value.into()))
        .chain(envelope.deprecated_tags().map(|(key, value)| (key, value.to_text())))
        .filter(|(key, _)| *key != "source_type")
        .collect();
    tags.sort_unstable();
    tags.dedup_by(|one, other| one.0 == other.0);
    for (index, (key, value)) in tags.iter().enumerate() {
        let open = if index == 0 { " {" } else { ", " };
        drop(write!(text, "{open}{key}={value:?}"));
    }
    if !tags.is_empty() {
        text.push(b'}');
    }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

const DIM: &[u8] = b"\x1b[2m";
const BOLD: &[u8] = b"\x1b[1m";
const RED: &[u8] = b"\x1b[31m";
const BLUE: &[u8] = b"\x1b[34m";
const CYAN: &[u8] = b"\x1b[36m";
const RESET: &[u8] = b"\x1b[0m";

/// Colours a stretch of text and makes it neutral, or does not.
#[derive(Clone, Copy)]
struct Paint(Style);

impl Paint {
    fn write(&self, text: &mut Vec<u8>, colour: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        if self.0.colour {
            text.extend_from_slice(colour);
        }
        write(text);
        if self.0.colour {
            text.extend_from_slice(RESET);
        }
    }

    /// What a producer chose.
    fn of_others(&self, text: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = text.len();
        write(text);
        if self.0.neutral
            && let Cow::Owned(shown) = neutral(&String::from_utf8_lossy(&text[begin..]))
        {
            text.truncate(begin);
            text.extend_from_slice(shown.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests;
