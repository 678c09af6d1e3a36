//! The head of a message, which comes from an envelope's identity and tags, and a cache of heads.
//!
//! A head has the form ` HOSTNAME APP-NAME PROCID - SD`. For a log, SD is the element of the tags or `-`. For a metric,
//! the element of the metric is inserted before that of the tags. An emitter encodes the tags of a source alike every
//! time, so the encoded tags are part of the cache's key, and no tag is decoded for a source that is cached.

use ahash::RandomState;
use weir_envelope::batch::Kind;
use weir_envelope::view::Summary;

use super::names::ShortNames;
use super::{Unconvertible, data, is_printable};
use crate::cache::Cache;
use crate::name::{put_hostname, put_metric_process_id, put_process_id};

/// The longest HOSTNAME, in bytes (RFC 5424, section 6).
const MAX_HOSTNAME: usize = 255;

/// The longest APP-NAME, in bytes (RFC 5424, section 6).
const MAX_APP_NAME: usize = 48;

/// The longest key that is cached, in bytes. Longer identities and tags are formatted for every envelope, which bounds
/// the memory of the cache.
const MAX_CACHED: usize = 4096;

/// The greatest number of heads that are cached.
const MAX_SOURCES: usize = 4096;

/// The cached heads of one binding.
#[derive(Debug)]
pub(super) struct Heads {
    hostname: String,
    metadata: bool,
    hasher: RandomState,
    cache: Cache<Head>,
    /// The index of the head that was used last, which mostly serves the next envelope too.
    last: usize,
    /// The head of the last envelope whose key was too long for the cache.
    large: Head,
}

/// The head of a source's messages.
#[derive(Debug, Default)]
pub(super) struct Head {
    is_log: bool,
    source_len: usize,
    instance_len: usize,
    /// The cache's key: source id, instance id and encoded tags, one behind the other.
    key: Vec<u8>,
    /// ` HOSTNAME APP-NAME PROCID - `, followed by the element of the tags.
    pub(super) text: Vec<u8>,
    /// The offset in `text` at which the structured data begins.
    pub(super) data: usize,
}

impl Heads {
    pub(super) fn new(hostname: &str, metadata: bool, sources: usize) -> Self {
        Self {
            hostname: hostname.to_owned(),
            metadata,
            hasher: RandomState::new(),
            cache: Cache::new(sources.min(MAX_SOURCES)),
            last: 0,
            large: Head::default(),
        }
    }

    /// Empties the cache, and gives it room for `sources` sources, at most [`MAX_SOURCES`].
    pub(super) fn resize(&mut self, sources: usize) {
        self.cache = Cache::new(sources.min(MAX_SOURCES));
        self.last = 0;
    }

    /// Returns the head for the messages of an envelope.
    #[inline]
    pub(super) fn of(&mut self, envelope: &Summary<'_>) -> Result<&Head, Unconvertible> {
        if !self.cache.get(self.last).is_some_and(|head| head.is_of(envelope)) {
            let size = envelope.source_id.len() + envelope.instance_id.len() + envelope.tags_bytes().len();
            if size > MAX_CACHED {
                self.large = self.make(envelope)?;
                return Ok(&self.large);
            }
            let hash = self.hash(envelope);
            self.last = match self.cache.find(hash, |head| head.is_of(envelope)) {
                Some(found) => found,
                None => {
                    let head = self.make(envelope)?;
                    self.cache.insert(hash, head)
                }
            };
        }
        Ok(self.cache.get(self.last).expect("it was found or made"))
    }

    fn hash(&self, envelope: &Summary<'_>) -> u64 {
        self.hasher.hash_one((
            envelope.source_id,
            envelope.instance_id,
            envelope.tags_bytes(),
            envelope.kind == Kind::Log,
        ))
    }

    /// Formats the head of an envelope.
    fn make(&self, envelope: &Summary<'_>) -> Result<Head, Unconvertible> {
        let tags = sorted(envelope);
        let tag = |key: &str| {
            let found = tags.binary_search_by_key(&key, |(key, _)| key).ok()?;
            Some(tags[found].1)
        };
        let mut head = Head {
            is_log: envelope.kind == Kind::Log,
            source_len: envelope.source_id.len(),
            instance_len: envelope.instance_id.len(),
            key: [
                envelope.source_id.as_bytes(),
                envelope.instance_id.as_bytes(),
                envelope.tags_bytes(),
            ]
            .concat(),
            ..Head::default()
        };
        let out = &mut head.text;
        out.push(b' ');
        // One of the three tags is enough. Those that are missing become empty parts.
        match (tag("organization_name"), tag("space_name"), tag("app_name")) {
            (None, None, None) => put_name(out, &self.hostname, MAX_HOSTNAME, Unconvertible::Hostname)?,
            (org, space, app) => put_hostname(
                out,
                org.unwrap_or_default(),
                space.unwrap_or_default(),
                app.unwrap_or_default(),
            ),
        }
        out.push(b' ');
        put_name(out, envelope.source_id, MAX_APP_NAME, Unconvertible::SourceId)?;
        out.push(b' ');
        let process_id = out.len();
        if head.is_log {
            put_process_id(out, tag("source_type").unwrap_or_default(), envelope.instance_id);
        } else {
            put_metric_process_id(out, envelope.instance_id);
        }
        if !is_printable(&out[process_id..]) {
            return Err(Unconvertible::InstanceId);
        }
        out.extend_from_slice(b" - ");
        head.data = out.len();
        if self.metadata && !tags.is_empty() {
            data::open(out, "tags");
            let mut short = ShortNames::default();
            for (key, value) in &tags {
                if !is_printable(key.as_bytes()) || key.bytes().any(|byte| matches!(byte, b'=' | b']' | b'"')) {
                    return Err(Unconvertible::TagName);
                }
                if ShortNames::fits(key) {
                    data::text(out, key, value);
                } else {
                    data::text(out, short.of(key, &tags), value);
                }
            }
            data::close(out);
        } else if head.is_log {
            out.push(b'-');
        }
        Ok(head)
    }
}

impl Head {
    #[inline]
    fn is_of(&self, envelope: &Summary<'_>) -> bool {
        let (source, instance, tags) = (
            envelope.source_id.as_bytes(),
            envelope.instance_id.as_bytes(),
            envelope.tags_bytes(),
        );
        self.source_len == source.len()
            && self.instance_len == instance.len()
            && self.key.len() == source.len() + instance.len() + tags.len()
            && self.key[..source.len()] == *source
            && self.key[source.len()..source.len() + instance.len()] == *instance
            && self.key[source.len() + instance.len()..] == *tags
            && self.is_log == (envelope.kind == Kind::Log)
    }
}

/// Returns the envelope's tags, sorted by key. If a key occurs more than once, its last value counts.
fn sorted<'a>(envelope: &Summary<'a>) -> Vec<(&'a str, &'a str)> {
    let mut tags: Vec<_> = envelope.tags().collect();
    // The sort is stable, so after the reversal the last tag of a key is the first of its run, which `dedup` keeps.
    tags.reverse();
    tags.sort_by_key(|(key, _)| *key);
    tags.dedup_by_key(|(key, _)| *key);
    tags
}

/// Appends a name of printable ASCII, cut to `longest` bytes; `-` if it is empty.
///
/// # Errors
/// If a byte of the part that is kept is not printable ASCII.
fn put_name(out: &mut Vec<u8>, name: &str, longest: usize, wrong: Unconvertible) -> Result<(), Unconvertible> {
    let name = &name.as_bytes()[..name.len().min(longest)];
    if !is_printable(name) {
        return Err(wrong);
    }
    out.extend_from_slice(if name.is_empty() { b"-" } else { name });
    Ok(())
}
