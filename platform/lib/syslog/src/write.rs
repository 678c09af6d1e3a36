//! Envelopes as RFC 5424 messages (logging §13), byte for byte as the original's syslog agent writes them.
//!
//! `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID - SD MSG`. All of it but the time stamp and the message comes from the
//! envelope's identity and tags, which hardly ever change from one line of a source to the next: [`heads`] keeps that
//! stretch of text for the sources written last.

use memchr::memchr;
use weir_envelope::view::{EnvelopeView, Message, Metric, Stream};
use weir_envelope::wire::{Fields, Value};
use weir_error::{Classify, ErrorKind};

use self::heads::{Head, Heads};
use crate::timestamp::Stamp;

mod data;
mod heads;
mod names;

/// The field of an envelope that holds a log, and the field of a log that holds its type.
const LOG: u32 = 4;
const TYPE: u32 = 2;

/// Sources whose heads are kept, unless told otherwise: the instances of one app.
const SOURCES: usize = 16;

/// Most bytes that one envelope may become: a gauge of many metrics has all its tags in each of its messages.
const MAX_MESSAGES: usize = 64 << 20;

/// An octet count and its space.
const MAX_COUNT: usize = 21;

/// How messages are told apart in a stream (RFC 6587).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Framing {
    /// The length of the message in decimal, a space, the message.
    OctetCounted,
    /// A newline ends the message: newlines within it become spaces.
    NonTransparent,
    /// The message as it is; it ends with a newline and may have others within.
    None,
}

/// Why an envelope has no RFC 5424 form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unconvertible {
    /// The binding's host name has bytes that are not printable ASCII.
    #[error("host name is not printable ASCII")]
    Hostname,
    /// The source id has such bytes.
    #[error("source id is not printable ASCII")]
    SourceId,
    /// The instance id has such bytes.
    #[error("instance id is not printable ASCII")]
    InstanceId,
    /// The name of a tag has such bytes, or one of `=`, `]` and `"`.
    #[error("name of a tag is not printable ASCII, or contains `=`, `]` or `\"`")]
    TagName,
    /// Its messages take more than 64 MiB, or would make the buffer exceed 4 GiB.
    #[error("messages are too large: a metric each, with all tags")]
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
    stamp: Stamp,
    /// The payload without its NULs, or the element of a metric.
    scratch: Vec<u8>,
    number: String,
}

impl Formatter {
    /// A formatter for a binding: `hostname` stands where the envelope's tags do not say whose it is (the binding of
    /// an app has one, an aggregate drain an empty one), and `metadata` says whether the tags are written.
    #[must_use]
    pub fn new(hostname: &str, metadata: bool) -> Self {
        Self {
            heads: Heads::new(hostname, metadata, SOURCES),
            stamp: Stamp::new(),
            scratch: Vec::new(),
            number: String::new(),
        }
    }

    /// The same with room for so many sources in its cache (about 1 KiB each, taken when they appear): a drain that
    /// takes everything sees hundreds in turn.
    #[must_use]
    pub fn remembering(mut self, sources: usize) -> Self {
        self.heads.resize(sources);
        self
    }

    /// Appends the messages of one envelope to `out`, each framed as asked, and to `ends` the offset in `out` behind
    /// each of them. Returns how many there are: one, for a gauge one per metric, and none for an envelope without
    /// payload.
    ///
    /// # Errors
    /// When the envelope has no RFC 5424 form; then nothing was appended.
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
        let stamp = self.stamp.text(summary.timestamp);
        let limit = out.len().saturating_add(MAX_MESSAGES).min(u32::MAX as usize);
        let mut count = 0;
        let mut message = |parts: &[&[u8]]| {
            put_framed(out, framing, parts, limit)?;
            ends.push(u32::try_from(out.len()).map_err(|_| Unconvertible::TooLarge)?);
            count += 1;
            Ok(())
        };
        // Of a metric: the head up to its element, the element, the tags and the end of the message.
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
                    // Neither of the two. The original writes `<-1>`, at which strict receivers close the connection.
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

/// Appends one message made of `parts`, the last of which ends with its newline.
#[inline]
fn put_framed(out: &mut Vec<u8>, framing: Framing, parts: &[&[u8]], limit: usize) -> Result<(), Unconvertible> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
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

/// The payload without NUL bytes, copied only if it has any.
#[inline]
fn without_nuls<'a>(payload: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if memchr(0, payload).is_none() {
        return payload;
    }
    scratch.extend(payload.iter().filter(|byte| **byte != 0));
    scratch
}

/// The type of the envelope's log as its number, which the view does not tell if it is neither OUT nor ERR.
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

/// A map has one value per key: the last. In the order of the wire.
fn last_of_each_name(mut metrics: Vec<Metric<'_>>) -> Vec<Metric<'_>> {
    if metrics.len() < 2 {
        return metrics;
    }
    let mut order: Vec<usize> = (0..metrics.len()).collect();
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

/// Whether all bytes are printable ASCII, which leaves out the space.
#[inline]
fn is_printable(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests;
