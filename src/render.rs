//! Envelopes as text, as `weir tail` and `weir recent` print them.
//!
//! ```text
//! 2026-01-03T10:11:12.345678+01:00 [APP/PROC/WEB/0] OUT GET /
//! 2026-01-03T10:11:12.345678+01:00 [-/0] GAUGE cpu=1.5 percentage, memory=1024 bytes {job="cell"}
//! ```
//!
//! Where several sources are mixed, the source id comes before the bracket. Log bodies are written byte for byte, control
//! characters included. All other text that a producer chose, such as names and tags, can be neutralized for a terminal.

mod time;

use std::borrow::Cow;
use std::io::Write as _;

use weir_envelope::view::{EnvelopeView, Message, Stream, Summary};
use weir_telemetry::neutral;

pub(crate) use time::timestamp;

/// The options of the text.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Style {
    /// Whether the text has terminal colours.
    pub(crate) colour: bool,
    /// Whether each line names its source, which is of use only if several are shown.
    pub(crate) source: bool,
    /// The part of each envelope that is printed.
    pub(crate) form: Form,
    /// Whether control characters outside of log bodies are replaced by visible ones.
    pub(crate) neutral: bool,
}

/// The part of an envelope that is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    /// One line with time, source and content.
    #[default]
    Line,
    /// The body of a log only. Envelopes of other kinds are left out.
    Body,
    /// One JSON object, in the mapping of the log cache and the RLP gateway.
    Json,
}

/// Appends one envelope and a newline. Returns false, and appends nothing, if the form leaves the envelope out.
pub(crate) fn envelope(view: EnvelopeView<'_>, style: Style, text: &mut Vec<u8>) -> bool {
    match style.form {
        Form::Json => Paint(style).neutralized(text, |text| weir_envelope::json::write_envelope(&view, text)),
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
            paint.neutralized(text, |text| {
                text.extend_from_slice(or_dash(envelope.source_id).as_bytes())
            });
        });
        text.push(b' ');
    }
    paint.write(text, CYAN, |text| {
        paint.neutralized(text, |text| {
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
                paint.neutralized(text, |text| measured(message, text));
            });
            paint.neutralized(text, |text| tags(envelope, text));
        }
    }
}

/// Appends the content of an envelope that is not a log.
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

/// Appends the tags of an envelope, sorted by key, without `source_type`, which is in the bracket already.
fn tags(envelope: &Summary<'_>, text: &mut Vec<u8>) {
    let mut tags: Vec<(&str, Cow<'_, str>)> = envelope
        .tags()
        .map(|(key, value)| (key, value.into()))
        .chain(envelope.deprecated_tags().map(|(key, value)| (key, value.to_text())))
        .filter(|(key, _)| *key != "source_type")
        .collect();
    // An old client may send a tag in both maps; it is shown once.
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

/// Colours and neutralizes parts of a text, as far as the style asks for it.
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

    /// Lets `write` append text that a producer chose, and neutralizes it if the style asks for it.
    fn neutralized(&self, text: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
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
