//! Writes envelopes as RFC 5424 messages with exactly the bytes of the original's syslog agent (logging §13).
//!
//! The form is `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID - SD MSG`. All of it but the time stamp and the message comes
//! from the envelope's identity and tags, which hardly ever change from one line of a source to the next. [`heads`]
//! therefore caches that part of the text for the sources that were written last.

use memchr::memchr;
use weir_envelope::view::{EnvelopeView, Message, Metric, Stream};
use weir_envelope::wire::{Fields, Value};
use weir_error::{Classify, ErrorKind};

use self::heads::{Head, Heads};
use crate::timestamp::TimestampWriter;

mod data;
mod heads;
mod names;

/// The number of the envelope's field that holds a log.
const LOG: u32 = 4;
/// The number of the log's field that holds its type.
const TYPE: u32 = 2;

/// The default number of sources whose heads are cached: enough for the instances of one app.
const SOURCES: usize = 16;

/// The most bytes that one envelope may become. A gauge becomes one message for each metric, each with all of the tags.
const MAX_MESSAGES: usize = 64 << 20;

/// The greatest length of an octet count and its space, in bytes.
const MAX_COUNT: usize = 21;

/// How messages are separated in a stream (RFC 6587).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Octet counting: the length of the message in decimal and a space stand before the message.
    OctetCounted,
    /// Non-transparent framing: a newline ends the message, and newlines within it become spaces.
    NonTransparent,
    /// No framing, for messages that a protocol such as HTTP delimits: the message ends with a newline and may contain
    /// others.
    None,
}

/// The reason why an envelope has no RFC 5424 form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unconvertible {
    /// The host name of the binding has bytes that are not printable ASCII.
    #[error("host name is not printable ASCII")]
    Hostname,
    /// The source id has bytes that are not printable ASCII.
    #[error("source id is not printable ASCII")]
    SourceId,
    /// The instance id has bytes that are not printable ASCII.
    #[error("instance id is not printable ASCII")]
    InstanceId,
    /// The name of a tag has bytes that are not printable ASCII, or one of `=`, `]` and `"`.
    #[error("name of a tag is not printable ASCII, or contains `=`, `]` or `\"`")]
    TagName,
    /// The messages of the envelope are larger than 64 MiB, or would make the buffer exceed 4 GiB.
    #[error("messages of the envelope are too large: each metric is a message and repeats all tags")]
    TooLarge,
}

impl Classify for Unconvertible {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Hostname => Some("correct the names of the organisation, the space or the app".to_owned()),
            Self::SourceId | Self::InstanceId => {
                Some("correct the emitter, or read its lines in the firehose".to_owned())
            }
            Self::TagName => Some("rename the tag, or add `disable-metadata=true` to the drain's url".to_owned()),
            Self::TooLarge => None,
        }
    }
}

/// Writes the envelopes of one binding as RFC 5424 messages.
#[derive(Debug)]
pub struct Formatter {
    heads: Heads,
    timestamps: TimestampWriter,
    /// A buffer for the payload without its NUL bytes, or for the element of a metric.
    scratch: Vec<u8>,
    /// A buffer for printing the value of a gauge.
    number: String,
}

impl Formatter {
    /// Returns a formatter for one binding.
    ///
    /// `hostname` is written for envelopes without tags that name organisation, space and app. The binding of an app
    /// has one; that of an aggregate drain is empty. `metadata` says whether tags are written.
    #[must_use]
    pub fn new(hostname: &str, metadata: bool) -> Self {
        Self {
            heads: Heads::new(hostname, metadata, SOURCES),
            timestamps: TimestampWriter::new(),
            scratch: Vec::new(),
            number: String::new(),
        }
    }

    /// Returns this formatter with a cache for `sources` sources. Each takes about 1 KiB, which is allocated when the
    /// source first appears. A large cache is for aggregate drains, which receive lines of hundreds of sources in turn.
    #[must_use]
    pub fn with_cached_sources(mut self, sources: usize) -> Self {
        self.heads.resize(sources);
        self
    }

    /// Appends the framed messages of one envelope to `out`, and the offset in `out` behind each message to `ends`.
    ///
    /// Returns the number of messages: one for each metric of a gauge, none for an envelope without payload, and one
    /// for any other envelope.
    ///
    /// # Errors
    /// If the envelope has no RFC 5424 form; nothing is then appended.
    pub fn write(
        &mut self,
        envelope: EnvelopeView<'_>,
        framing: Framing,
        out: &mut Vec<u8>,
        ends: &mut Vec<u32>,
    ) -> Result<u32, Unconvertible> {
        let before = (out.len(), ends.len());
        let written = self.append(envelope, framing, out, ends);
        if written.is_err() {
            out.truncate(before.0);
            ends.truncate(before.1);
        }
        written
    }

    fn append(
        &mut self,
        envelope: EnvelopeView<'_>,
        framing: Framing,
        out: &mut Vec<u8>,
        ends: &mut Vec<u32>,
    ) -> Result<u32, Unconvertible> {
        let summary = envelope.summary();
        let stamp = self.timestamps.text(summary.timestamp);
        // `ends` has offsets of 32 bits, so the buffer must not exceed what they can express.
        let limit = out.len().saturating_add(MAX_MESSAGES).min(u32::MAX as usize);
        let mut count = 0;
        let mut message = |parts: &[&[u8]]| {
            put_framed(out, framing, parts, limit)?;
            ends.push(u32::try_from(out.len()).map_err(|_| Unconvertible::TooLarge)?);
            count += 1;
            Ok(())
        };
        // A metric's element stands before that of the tags, so it is inserted into the cached head.
        let mut metric = |head: &Head, element: &[u8]| {
            let (before, tags) = head.text.split_at(head.data);
            message(&[b"<14>1 ", stamp, before, element, tags, b" \n"])
        };
        let scratch = &mut self.scratch;
        scratch.clear();
        match summary.message {
            Message::Log { payload, stream } => {
                let priority: &[u8] = match stream {
                    Stream::Out => b"<14>1 ",
                    Stream::Err if log_type(envelope) == 1 => b"<11>1 ",
                    // An unknown type. The original writes `<-1>`, at which strict receivers close the connection.
                    Stream::Err => b"<14>1 ",
                };
                let head = self.heads.of(&summary)?;
                let text = without_nuls(payload, scratch);
                let newline: &[u8] = if text.ends_with(b"\n") { b"" } else { b"\n" };
                message(&[priority, stamp, &head.text, b" ", text, newline])?;
            }
            Message::Counter { name, delta, total } => {
                data::put_counter(scratch, name, total, delta);
                metric(self.heads.of(&summary)?, scratch)?;
            }
            Message::Gauge(ref metrics) => {
                for found in last_of_each_name(metrics.clone().collect()) {
                    scratch.clear();
                    data::put_gauge(scratch, &mut self.number, &found);
                    metric(self.heads.of(&summary)?, scratch)?;
                }
            }
            Message::Timer { name, start, stop } => {
                data::put_timer(scratch, name, start, stop);
                metric(self.heads.of(&summary)?, scratch)?;
            }
            Message::Event { title, body } => {
                data::put_event(scratch, title, body);
                metric(self.heads.of(&summary)?, scratch)?;
            }
            Message::None => {}
        }
        Ok(count)
    }
}

/// Appends one framed message that consists of `parts`, of which the last one ends with the newline of the message.
#[inline]
fn put_framed(out: &mut Vec<u8>, framing: Framing, parts: &[&[u8]], limit: usize) -> Result<(), Unconvertible> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    // Checked before the copy, because `len` may be larger than the memory that is left.
    if len + MAX_COUNT > limit.saturating_sub(out.len()) {
        return Err(Unconvertible::TooLarge);
    }
    out.reserve(len + MAX_COUNT);
    if framing == Framing::OctetCounted {
        data::put_unsigned(out, len as u64);
        out.push(b' ');
    }
    let start = out.len();
    for part in parts {
        out.extend_from_slice(part);
    }
    if framing == Framing::NonTransparent {
        // Up to the last byte, which is the newline that ends the message.
        replace_newlines(&mut out[start..start + len - 1]);
    }
    Ok(())
}

fn replace_newlines(bytes: &mut [u8]) {
    let mut from = 0;
    while let Some(at) = memchr(b'\n', &bytes[from..]) {
        bytes[from + at] = b' ';
        from += at + 1;
    }
}

/// Returns the payload without NUL bytes, which the original removes. It is copied to `scratch` only if it has any.
#[inline]
fn without_nuls<'a>(payload: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if memchr(0, payload).is_none() {
        return payload;
    }
    scratch.extend(payload.iter().filter(|byte| **byte != 0));
    scratch
}

/// Returns the number of the log's type on the wire. The view reads every unknown number as ERR.
fn log_type(envelope: EnvelopeView<'_>) -> u32 {
    let mut found = 0;
    for (number, value) in Fields::new(envelope.bytes()).flatten() {
        if let (LOG, Value::Bytes(log)) = (number, value) {
            for (number, value) in Fields::new(log).flatten() {
                if let (TYPE, Value::Varint(value)) = (number, value) {
                    #[expect(clippy::cast_possible_truncation, reason = "enums are 32 bits wide")]
                    let value = value as u32;
                    found = value;
                }
            }
        }
    }
    found
}

/// Returns the metrics in the order of the wire, and of those with one name only the last, as a map keeps it.
fn last_of_each_name(mut metrics: Vec<Metric<'_>>) -> Vec<Metric<'_>> {
    if metrics.len() < 2 {
        return metrics;
    }
    let mut order: Vec<usize> = (0..metrics.len()).collect();
    // The order of the wire decides among equal names: the last one counts.
    order.sort_by_key(|&index| (metrics[index].name, index));
    let mut dropped = vec![false; metrics.len()];
    for pair in order.windows(2) {
        dropped[pair[0]] = metrics[pair[0]].name == metrics[pair[1]].name;
    }
    let mut index = 0;
    metrics.retain(|_| {
        index += 1;
        !dropped[index - 1]
    });
    metrics
}

/// Whether all bytes are printable ASCII other than the space (PRINTUSASCII in RFC 5424).
#[inline]
fn is_printable(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests;
