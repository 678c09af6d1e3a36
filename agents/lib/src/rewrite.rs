//! The changes that an agent makes to envelopes (logging §7), applied to their encoded form.
//!
//! - An empty `source_id` is set to the tag `origin`.
//! - Deprecated tags are copied into `tags`, and replace tags with the same key there.
//! - Default tags are added where the envelope has no tag with that key.
//! - A counter that has a delta and no total gets the running total of its series ([`CounterTotals`]).
//!
//! An envelope that needs no change keeps its bytes. A changed envelope is copied, and the new fields are appended: in
//! protobuf the last occurrence of a scalar field counts, and entries of a map are merged. Only if something must be
//! removed (a replaced tag, a counter without a total) is the envelope copied field by field, so that no reader depends
//! on how it resolves duplicates.

use weir_envelope::batch::{Batch, BatchBuilder, Kind, RawEnvelope};
use weir_envelope::view::Message;
use weir_envelope::wire::{Fields, Value, put_bytes, put_uint, put_varint};

mod counters;
mod default_tags;
mod tag_map;

pub use counters::CounterTotals;
pub use default_tags::DefaultTags;

use default_tags::Missing;
use tag_map::TagMap;

/// The field numbers of `Envelope` that this module reads or writes.
mod field {
    pub(super) const SOURCE_ID: u32 = 2;
    pub(super) const COUNTER: u32 = 5;
    pub(super) const TAGS: u32 = 9;
}

/// Applies the rules to batches. All streams of an agent share one.
#[derive(Debug)]
pub struct Rewriter {
    defaults: DefaultTags,
    counters: CounterTotals,
}

/// A batch after the rules were applied to it.
#[derive(Debug)]
pub struct Rewritten {
    /// The envelopes in their original order and number. The bytes are shared with the original batch if nothing changed.
    pub batch: Batch,
    /// The number of envelopes whose source id was set from the tag `origin`.
    pub origin_mappings: u64,
}

impl Rewriter {
    /// Creates a rewriter that adds `defaults` and keeps the running totals of at most `max_series` counter series.
    #[must_use]
    pub fn new(defaults: DefaultTags, max_series: usize) -> Self {
        Self {
            defaults,
            counters: CounterTotals::new(max_series),
        }
    }

    /// Applies the rules to every envelope of `batch`.
    #[must_use]
    pub fn rewrite(&self, batch: Batch) -> Rewritten {
        let mut pass = Pass {
            rewriter: self,
            fresh: Vec::new(),
            origin_mappings: 0,
        };
        // Most batches need no change at all. The builder exists only from the first changed envelope on.
        let mut builder: Option<BatchBuilder> = None;
        for (index, envelope) in batch.iter().enumerate() {
            let change = pass.envelope(envelope);
            if change != Change::None && builder.is_none() {
                let mut begun = BatchBuilder::new();
                begun.reserve(
                    batch.len(),
                    batch.byte_len() + (batch.len() - index) * self.defaults.byte_len(),
                );
                // The envelopes before the first change are copied once. After that, every envelope is appended.
                batch.iter().take(index).for_each(|untouched| begun.push_raw(untouched));
                builder = Some(begun);
            }
            let Some(builder) = &mut builder else { continue };
            match change {
                Change::None => builder.push_raw(envelope),
                Change::Tags(missing) => match self.defaults.encoded(missing) {
                    Some(tags) => builder.push_tagged(envelope, tags),
                    None => {
                        pass.fresh.clear();
                        self.defaults.append(missing, &mut pass.fresh);
                        builder.push_tagged(envelope, &pass.fresh);
                    }
                },
                Change::Fresh if builder.push(&pass.fresh) => {}
                // Fields were appended to a well-formed envelope, so the builder cannot refuse it. If it did, the
                // original would be kept.
                Change::Fresh => builder.push_raw(envelope),
            }
        }
        let origin_mappings = pass.origin_mappings;
        let batch = builder.map_or(batch, |mut builder| builder.finish());
        Rewritten { batch, origin_mappings }
    }
}

/// The change that one envelope needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    /// Default tags are appended.
    Tags(Missing),
    /// The whole envelope was written anew into [`Pass::fresh`].
    Fresh,
}

/// The state of one pass over a batch.
struct Pass<'r> {
    rewriter: &'r Rewriter,
    /// The buffer into which changed envelopes are written. It is reused for all envelopes of the batch.
    fresh: Vec<u8>,
    origin_mappings: u64,
}

impl Pass<'_> {
    /// Applies the rules to one envelope and returns what has to be done with it.
    fn envelope(&mut self, envelope: RawEnvelope<'_>) -> Change {
        // These three kinds of envelopes need their tags decoded. All others are only scanned.
        let plain = envelope.kind() != Kind::Counter
            && !envelope.has_deprecated_tags()
            && !envelope.source_id_bytes().is_empty();
        if plain {
            match self.missing_defaults(envelope.bytes()) {
                missing if missing.is_empty() => Change::None,
                missing => Change::Tags(missing),
            }
        } else if self.apply_all(envelope) {
            Change::Fresh
        } else {
            Change::None
        }
    }

    /// Finds the default tags that are missing. This is the fast path for an envelope that needs no other rule.
    fn missing_defaults(&self, bytes: &[u8]) -> Missing {
        let defaults = &self.rewriter.defaults;
        let mut missing = defaults.all();
        for field in Fields::new(bytes) {
            if missing.is_empty() {
                break;
            }
            if let Ok((field::TAGS, Value::Bytes(entry))) = field {
                missing.found(defaults, tag_map::entry_key(entry));
            }
        }
        missing
    }

    /// Applies all rules. Returns whether the envelope was written anew into [`Pass::fresh`].
    fn apply_all(&mut self, envelope: RawEnvelope<'_>) -> bool {
        let bytes = envelope.bytes();
        let view = envelope.view();
        let mut tags = TagMap::read(view.tags(), view.deprecated_tags());

        let source_id = if envelope.source_id().is_empty() {
            tags.origin()
        } else {
            None
        };
        if source_id.is_some() {
            self.origin_mappings += 1;
        }
        let source_id = source_id.filter(|origin| !origin.is_empty());

        // Defaults are added before the series is computed: the tags that identify a counter include them.
        let defaults = &self.rewriter.defaults;
        let mut missing = defaults.all();
        tags.keys().for_each(|key| missing.found(defaults, key.as_bytes()));
        for (key, value) in defaults.iter(missing) {
            tags.insert_default(key, value);
        }

        let counter = match view.message() {
            Message::Counter { name, delta, total } => {
                let source = source_id.as_deref().unwrap_or(envelope.source_id());
                let series = self.rewriter.counters.series(name, source, tags.iter());
                let running = self.rewriter.counters.add(series, delta, total);
                (running != total).then_some(Counter {
                    name,
                    delta,
                    total: running,
                })
            }
            _ => None,
        };

        if source_id.is_none() && counter.is_none() && !tags.changed() {
            return false;
        }
        let fresh = &mut self.fresh;
        fresh.clear();
        if counter.is_some() || tags.has_replaced() {
            copy_except(bytes, fresh, |number, value| match (number, value) {
                (field::COUNTER, _) => counter.is_some(),
                (field::TAGS, Value::Bytes(entry)) => tags.is_replaced(tag_map::entry_key(entry)),
                _ => false,
            });
        } else {
            fresh.extend_from_slice(bytes);
        }
        if let Some(source_id) = &source_id {
            put_bytes(fresh, field::SOURCE_ID, source_id.as_bytes());
        }
        tags.append_new(fresh);
        if let Some(counter) = counter {
            counter.append(fresh);
        }
        true
    }
}

/// A counter with its new total, which replaces the one in the envelope.
struct Counter<'a> {
    name: &'a str,
    delta: u64,
    total: u64,
}

impl Counter<'_> {
    fn append(&self, out: &mut Vec<u8>) {
        let mut message = Vec::with_capacity(self.name.len() + 24);
        put_bytes(&mut message, 1, self.name.as_bytes());
        put_uint(&mut message, 2, self.delta);
        put_uint(&mut message, 3, self.total);
        put_bytes(out, field::COUNTER, &message);
    }
}

/// Copies the fields of `message`, byte by byte, except those for which `drop` returns true.
fn copy_except(message: &[u8], out: &mut Vec<u8>, drop: impl Fn(u32, Value<'_>) -> bool) {
    let mut fields = Fields::new(message);
    loop {
        let start = fields.offset();
        match fields.next() {
            Some(Ok((number, value))) if !drop(number, value) => {
                out.extend_from_slice(&message[start..fields.offset()]);
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

/// Appends one entry of the `tags` map.
fn put_tag(out: &mut Vec<u8>, key: &str, value: &str) {
    let len = tag_len(key.len()) + tag_len(value.len());
    put_varint(out, u64::from(field::TAGS << 3 | 2));
    put_varint(out, len as u64);
    put_bytes(out, 1, key.as_bytes());
    put_bytes(out, 2, value.as_bytes());
}

/// Returns the encoded length in bytes of a string field whose key takes one byte.
const fn tag_len(len: usize) -> usize {
    1 + weir_envelope::wire::varint_len(len as u64) + len
}

#[cfg(test)]
mod tests;
