//! Messages as envelopes (logging §14.1), with what their tags restore.
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

use ahash::RandomState;
use weir_error::{Classify, ErrorKind};

use self::elements::{Sorted, write};
use self::identity::{Identity, Source};
use crate::cache::Cache;
use crate::read::{self, Message, ParseError};

mod elements;
mod identity;

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

#[cfg(test)]
mod tests;
