//! Converts syslog messages to envelopes (logging §14.1), and restores from tags what the format cuts off.
//!
//! | Field of the envelope | Read from |
//! |---|---|
//! | source id | APP-NAME; or tag `source_id`, if APP-NAME has 48 bytes and the tag begins with it |
//! | instance id | tag `instance_id`, if the formatter would write PROCID for it; else the part of PROCID behind tag `source_type`; else the part behind the last `/`, without brackets |
//! | payload | the element `counter…`, `gauge…`, `timer…` or `event…`; else a log of MSG without its last newline, ERR if PRI is 11 |
//! | tags | the element `tags…` |
//!
//! No text is trimmed. The messages of a source differ mostly in time and text only, so [`Mapper`] caches the envelope
//! fields that it derived from identity and tags.

use ahash::RandomState;
use weir_error::{Classify, ErrorKind};

use self::elements::{SortedElements, write};
use self::identity::{Identity, Source};
use crate::cache::Cache;
use crate::read::{self, Message, ParseError};

mod elements;
mod identity;

/// The greatest size of a cached identity with its tags, in bytes. Larger ones are read anew for every message, which
/// bounds the memory of the cache.
const MAX_CACHED: usize = 8192;

/// The number of sources of one connection whose identity and tags are cached.
const SOURCES: usize = 256;

/// The reason why a message cannot be converted to an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unmappable {
    /// APP-NAME is `-`, so there is no source id.
    #[error("message has no app name, which is the source id")]
    AppName,
    /// The source id is longer than an envelope may have.
    #[error("source id is longer than 4096 bytes")]
    SourceId,
    /// PROCID is `-`, so there is no instance id.
    #[error("message has no process id, which is the instance id")]
    ProcessId,
    /// TIMESTAMP is `-`.
    #[error("message has no time stamp")]
    Timestamp,
    /// A structured data element has an unknown name.
    #[error("structured data element is neither tags, counter, gauge, timer nor event")]
    Element,
    /// The message has two elements with tags, or two with metrics.
    #[error("message has two metrics, or tags twice")]
    Repeated,
    /// A value of a metric is missing or is not a number.
    #[error("value of the metric is missing or is no number")]
    Number,
    /// A gauge has no parameter `unit`.
    #[error("gauge has no unit")]
    Unit,
    /// The message has neither a metric nor text.
    #[error("message has neither a metric nor text")]
    Empty,
}

impl Classify for Unmappable {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }
}

/// The reason why a message was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The bytes are not an RFC 5424 message.
    #[error(transparent)]
    Malformed(#[from] ParseError),
    /// The message cannot be converted to an envelope.
    #[error(transparent)]
    Unmappable(#[from] Unmappable),
}

impl Refused {
    /// Returns this error with its offset counted from `start` bytes earlier.
    const fn shifted_by(self, start: usize) -> Self {
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

/// Converts `message`, and appends the encoded `loggregator.v2.Envelope` to `out`.
///
/// # Errors
/// If the message cannot be converted; nothing is then appended.
pub fn to_envelope(message: &Message<'_>, out: &mut Vec<u8>) -> Result<(), Unmappable> {
    let timestamp = message.header.timestamp.ok_or(Unmappable::Timestamp)?;
    let mut elements = SortedElements::default();
    for element in message.data.elements() {
        elements.add(element)?;
    }
    let source = Source::of(&message.header, &elements)?;
    let identity = Identity::new(source, elements.tags)?;
    write(&message.header, timestamp, &identity, &elements, message.text, out)
}

/// Converts the messages of one connection to envelopes, with a cache of its sources.
#[derive(Debug)]
pub struct Mapper {
    hasher: RandomState,
    cache: Cache<Identity>,
}

impl Default for Mapper {
    fn default() -> Self {
        Self::new()
    }
}

impl Mapper {
    /// Returns a mapper for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            cache: Cache::new(SOURCES),
        }
    }

    /// Converts `message` (without its framing), and appends the encoded envelope to `out`. A message without a time
    /// stamp gets the time `now`, in nanoseconds since the Unix epoch.
    ///
    /// # Errors
    /// If the message is malformed or cannot be converted; nothing is then appended.
    pub fn map(&mut self, message: &[u8], now: i64, out: &mut Vec<u8>) -> Result<(), Refused> {
        let (header, at) = read::header(message)?;
        // The tags are not part of the hash. So a source whose tags change replaces its entry, and does not fill the
        // cache.
        let hash = self.hasher.hash_one((header.app_name, header.process_id));
        let found = self.cache.find(hash, |known| known.is_from(&header));
        let known = found.and_then(|found| self.cache.get(found));
        let (elements, taken) =
            SortedElements::read(&message[at..], known).map_err(|refused| refused.shifted_by(at))?;
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
                if identity.size() <= MAX_CACHED {
                    match found {
                        // The tags of the source have changed.
                        Some(found) => self.cache.replace(found, identity),
                        None => drop(self.cache.insert(hash, identity)),
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
