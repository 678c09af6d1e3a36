//! Messages as envelopes (contract §14.1), with what their tags restore.
//!
//! | envelope | from |
//! |---|---|
//! | source id | APP-NAME; where that was cut at 48 and tag `source_id` goes on, the tag |
//! | instance id | PROCID; where it is what the writer makes of tags `source_type` and `instance_id`, the tag; else what follows the type; else without brackets, what follows the last `/` |
//! | payload | the element `counter…`, `gauge…`, `timer…` or `event…`; else MSG without its last newline, ERR if PRI is 11 |
//! | tags | the element `tags…` |
//!
//! Nothing is trimmed. A source's messages differ in time and text only: [`Mapper`] keeps what it made of identity and
//! tags, keyed by their text.

use std::borrow::Cow;
use std::str::FromStr;

use ahash::RandomState;
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_error::{Classify, ErrorKind};

use crate::cache::Cache;
use crate::name::{put_metric_process_id, put_process_id};
use crate::read::{self, Element, Header, Message, ParseError};

/// What an error line's priority is: facility user, severity error.
const ERROR: i16 = 11;

/// Longest APP-NAME that is written.
const MAX_APP_NAME: usize = 48;

/// Longest source id of an envelope (`weir_envelope::batch`).
const MAX_SOURCE_ID: usize = 4096;

/// Identity and tags that take more bytes than this are read anew for every message: what is kept stays bounded.
const MAX_KEPT: usize = 8192;

/// Sources of one connection whose identity and tags are kept.
const SOURCES: usize = 256;

/// Why a message is no envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unmappable {
    /// APP-NAME is `-`.
    #[error("message has no app name, which is the source id")]
    AppName,
    /// The source id is longer than any envelope's.
    #[error("source id is longer than 4096 bytes")]
    SourceId,
    /// PROCID is `-`.
    #[error("message has no process id, which is the instance id")]
    ProcessId,
    /// TIMESTAMP is `-`.
    #[error("message has no time stamp")]
    Timestamp,
    /// An element of which nobody knows what it is.
    #[error("structured data element is neither tags, counter, gauge, timer nor event")]
    Element,
    /// Two elements that are tags, or two that are metrics.
    #[error("message has two metrics, or tags twice")]
    Repeated,
    /// A number is missing or is none.
    #[error("value of the metric is missing or is no number")]
    Number,
    /// A gauge without `unit`.
    #[error("gauge has no unit")]
    Unit,
    /// Neither a metric nor text.
    #[error("message has neither a metric nor text")]
    Empty,
}

impl Classify for Unmappable {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

/// Why a message was not made an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not RFC 5424.
    #[error(transparent)]
    Malformed(#[from] ParseError),
    /// It is not an envelope's.
    #[error(transparent)]
    Unmappable(#[from] Unmappable),
}

impl Refused {
    /// The same error in a text that begins `at` bytes before.
    const fn behind(self, start: usize) -> Self {
        match self {
            Self::Malformed(ParseError { part, at }) => Self::Malformed(ParseError { part, at: start + at }),
            unmappable => unmappable,
        }
    }
}

impl Classify for Refused {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Malformed(error) => error.hint(),
            Self::Unmappable(error) => error.hint(),
        }
    }
}

/// Appends the envelope of `message` to `out`, as an encoded `loggregator.v2.Envelope`.
///
/// # Errors
/// When the message is no envelope's; then nothing was appended.
pub fn to_envelope(message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), Unmappable> {
    let timestamp = message.header.timestamp.ok_or(Unmappable::Timestamp)?;
    let mut elements = Sorted::default();
    for element in message.data.elements() {
        elements.add(element)?;
    }
    let source = Source::of(&message.header, &elements)?;
    let identity = Identity::new(source, elements.tags)?;
    write(&message.header, timestamp, &identity, &elements, message.text, out)
}

/// Makes envelopes of one connection's messages.
#[derive(Debug)]
pub struct Mapper {
    hasher: RandomState,
    kept: Cache<Identity>,
}

impl Default for Mapper {
    fn default() -> Self {
        Self::new()
    }
}

impl Mapper {
    /// A mapper for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            kept: Cache::new(SOURCES),
        }
    }

    /// Appends the envelope of `message` (without framing) to `out`; `now` is its time where it has none, in nanoseconds
    /// since the Unix epoch.
    ///
    /// # Errors
    /// When it is no message, or no envelope's; then nothing was appended.
    pub fn map(&mut self, message: &[u8], now: i64, out: &mut Vec<u8>) -> Result<(), Refused> {
        let (header, at) = read::header(message)?;
        let hash = self.hasher.hash_one((header.app_name, header.process_id));
        let found = self.kept.find(hash, |known| known.is_from(&header));
        let known = found.and_then(|found| self.kept.get(found));
        let (elements, taken) = Sorted::read(&message[at..], known).map_err(|refused| refused.behind(at))?;
        let text = read::text(message, at + taken)?;
        let timestamp = header.timestamp.unwrap_or(now);
        let source = Source::of(&header, &elements)?;
        match known {
            Some(known) if known.is_of(&source, &elements) => {
                write(&header, timestamp, known, &elements, text, out)?;
            }
            _ => {
                let identity = Identity::new(source, elements.tags)?;
                write(&header, timestamp, &identity, &elements, text, out)?;
                if identity.size() <= MAX_KEPT {
                    match found {
                        // Its tags have changed.
                        Some(found) => self.kept.replace(found, identity),
                        None => drop(self.kept.insert(hash, identity)),
                    }
                }
            }
        }
        Ok(())
    }
}

/// The elements of a message by what they are.
#[derive(Debug, Default)]
struct Sorted<'a> {
    /// The text of the element of the tags.
    tags: Option<&'a [u8]>,
    /// The tags are those of the identity that was given.
    tags_known: bool,
    metric: Option<(Metric, Element<'a>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metric {
    Counter,
    Gauge,
    Timer,
    Event,
}

impl<'a> Sorted<'a> {
    /// Reads structured data; returns how many bytes it took. Tags whose text is that of `known` are not read again.
    fn read(data: &'a [u8], known: Option<&Identity>) -> Result<(Self, usize), Refused> {
        let mut sorted = Self::default();
        if data.first() == Some(&b'-') {
            return Ok((sorted, 1));
        }
        let known = known.map(|known| known.tags.as_slice()).filter(|tags| !tags.is_empty());
        let mut at = 0;
        loop {
            let rest = &data[at..];
            match known {
                // An element ends where it ends, whatever follows: what was read before reads the same again.
                Some(tags) if rest.starts_with(tags) => {
                    sorted.set_tags(&rest[..tags.len()])?;
                    sorted.tags_known = true;
                    at += tags.len();
                }
                _ => {
                    let (element, taken) =
                        Element::read(rest).map_err(|(part, offset)| ParseError { part, at: at + offset })?;
                    sorted.add(element)?;
                    at += taken;
                }
            }
            if data.get(at) != Some(&b'[') {
                return Ok((sorted, at));
            }
        }
    }

    fn add(&mut self, element: Element<'a>) -> Result<(), Unmappable> {
        if element.id.starts_with("tags") {
            return self.set_tags(element.raw());
        }
        let kinds = [
            ("gauge", Metric::Gauge),
            ("counter", Metric::Counter),
            ("timer", Metric::Timer),
            ("event", Metric::Event),
        ];
        let (_, metric) = kinds
            .into_iter()
            .find(|(prefix, _)| element.id.starts_with(prefix))
            .ok_or(Unmappable::Element)?;
        if self.metric.is_some() {
            return Err(Unmappable::Repeated);
        }
        self.metric = Some((metric, element));
        Ok(())
    }

    const fn set_tags(&mut self, tags: &'a [u8]) -> Result<(), Unmappable> {
        if self.tags.is_some() {
            return Err(Unmappable::Repeated);
        }
        self.tags = Some(tags);
        Ok(())
    }
}

/// Where a message says that it comes from.
#[derive(Debug, Clone, Copy)]
struct Source<'a> {
    app_name: &'a str,
    process_id: &'a str,
    is_log: bool,
}

impl<'a> Source<'a> {
    fn of(header: &Header<'a>, elements: &Sorted<'_>) -> Result<Self, Unmappable> {
        Ok(Self {
            app_name: header.app_name.ok_or(Unmappable::AppName)?,
            process_id: header.process_id.ok_or(Unmappable::ProcessId)?,
            is_log: elements.metric.is_none(),
        })
    }

    /// The instance id, with what the tags know of it.
    fn instance_id(&self, hints: &Hints<'a>) -> Cow<'a, str> {
        let mut written = Vec::new();
        if let Some(instance_id) = &hints.instance_id {
            if self.is_log {
                put_process_id(
                    &mut written,
                    hints.source_type.as_deref().unwrap_or_default(),
                    instance_id,
                );
            } else {
                put_metric_process_id(&mut written, instance_id);
            }
            if written == self.process_id.as_bytes() {
                return instance_id.clone();
            }
        }
        if self.is_log
            && let Some(source_type) = &hints.source_type
        {
            written.clear();
            put_process_id(&mut written, source_type, "");
            if written == self.process_id.as_bytes() {
                return Cow::Borrowed("");
            }
            if written.last() == Some(&b']') {
                written.pop();
            }
            written.push(b'/');
            let behind_type = self.process_id.as_bytes().starts_with(&written);
            let instance_id = self.process_id[1..].strip_suffix(']').filter(|_| behind_type);
            if let Some(instance_id) = instance_id.and_then(|bare| bare.get(written.len() - 1..)) {
                return Cow::Borrowed(instance_id);
            }
        }
        let bare = self.process_id.trim_matches(['[', ']']);
        Cow::Borrowed(bare.rsplit('/').next().unwrap_or(bare))
    }

    /// The source id: the whole of it, if the tags have what was cut off.
    fn source_id(&self, hints: &Hints<'a>) -> Cow<'a, str> {
        match &hints.source_id {
            Some(whole) if self.app_name.len() == MAX_APP_NAME && whole.starts_with(self.app_name) => whole.clone(),
            _ => Cow::Borrowed(self.app_name),
        }
    }
}

/// What tags say of their source.
#[derive(Debug, Default)]
struct Hints<'a> {
    source_id: Option<Cow<'a, str>>,
    instance_id: Option<Cow<'a, str>>,
    source_type: Option<Cow<'a, str>>,
}

impl<'a> Hints<'a> {
    /// Of a tag that comes more than once, the last one counts.
    fn note(&mut self, name: &str, value: Cow<'a, str>) {
        let hint = match name {
            "source_id" => &mut self.source_id,
            "instance_id" => &mut self.instance_id,
            "source_type" => &mut self.source_type,
            _ => return,
        };
        *hint = Some(value);
    }
}

/// What a source and its tags become.
#[derive(Debug)]
struct Identity {
    /// APP-NAME and, from `process_id` on, PROCID.
    source: String,
    process_id: usize,
    is_log: bool,
    /// The element of the tags as it was read; empty if there is none.
    tags: Vec<u8>,
    /// Source id, instance id and tags of an envelope.
    encoded: Vec<u8>,
}

impl Identity {
    fn new(source: Source<'_>, text: Option<&[u8]>) -> Result<Self, Unmappable> {
        let text = text.unwrap_or_default();
        let mut encoded = Vec::with_capacity(text.len() + 128);
        let mut writer = Writer::new(&mut encoded);
        let mut hints = Hints::default();
        if let Ok((tags, _)) = Element::read(text) {
            for tag in tags.parameters() {
                let value = tag.value();
                writer.tag(tag.name, &value);
                hints.note(tag.name, value);
            }
        }
        let source_id = source.source_id(&hints);
        if source_id.len() > MAX_SOURCE_ID {
            return Err(Unmappable::SourceId);
        }
        writer.source_id(&source_id).instance_id(&source.instance_id(&hints));
        Ok(Self {
            source: [source.app_name, source.process_id].concat(),
            process_id: source.app_name.len(),
            is_log: source.is_log,
            tags: text.to_vec(),
            encoded,
        })
    }

    /// Whether the source is that of a message; its tags may differ.
    #[inline]
    fn is_from(&self, header: &Header<'_>) -> bool {
        let (app_name, process_id) = self.source.split_at(self.process_id);
        header.app_name == Some(app_name) && header.process_id == Some(process_id)
    }

    /// Whether it is all of what a message of this source has.
    #[inline]
    fn is_of(&self, source: &Source<'_>, elements: &Sorted<'_>) -> bool {
        let same_tags = elements.tags_known || (self.tags.is_empty() && elements.tags.is_none());
        same_tags && self.is_log == source.is_log
    }

    const fn size(&self) -> usize {
        self.source.len() + self.tags.len() + self.encoded.len()
    }
}

/// Appends an envelope, or nothing.
fn write(
    header: &Header<'_>,
    timestamp: i64,
    identity: &Identity,
    elements: &Sorted<'_>,
    text: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Unmappable> {
    let start = out.len();
    Writer::new(out).timestamp(timestamp);
    out.extend_from_slice(&identity.encoded);
    let written = put_payload(&mut Writer::new(out), header, elements.metric.as_ref(), text);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn put_payload(
    out: &mut Writer<'_>,
    header: &Header<'_>,
    metric: Option<&(Metric, Element<'_>)>,
    text: Option<&[u8]>,
) -> Result<(), Unmappable> {
    let Some((kind, element)) = metric else {
        let text = text.ok_or(Unmappable::Empty)?;
        let stream = if header.priority == ERROR {
            Stream::Err
        } else {
            Stream::Out
        };
        out.log(text.strip_suffix(b"\n").unwrap_or(text), stream);
        return Ok(());
    };
    let name = element.value("name").unwrap_or_default();
    match kind {
        Metric::Counter => {
            out.counter(&name, number(element, "delta")?, number(element, "total")?);
        }
        Metric::Gauge => {
            let unit = element.value("unit").ok_or(Unmappable::Unit)?;
            out.gauge(&[(&*name, &*unit, number(element, "value")?)]);
        }
        Metric::Timer => {
            out.timer(&name, number(element, "start")?, number(element, "stop")?);
        }
        Metric::Event => {
            let (title, body) = (element.value("title"), element.value("body"));
            out.event(&title.unwrap_or_default(), &body.unwrap_or_default());
        }
    }
    Ok(())
}

fn number<T: FromStr>(element: &Element<'_>, name: &str) -> Result<T, Unmappable> {
    let value = element.value(name).ok_or(Unmappable::Number)?;
    value.parse().map_err(|_| Unmappable::Number)
}

#[cfg(test)]
mod tests;
