//! What the agent changes in the envelopes that pass it (logging §7), raw to raw.
//!
//! - An empty `source_id` becomes the tag `origin`.
//! - Deprecated tags are copied into `tags`; what was there under the same key is replaced.
//! - Default tags are added where absent.
//! - A counter that only tells its growth gets the running total ([`CounterTotals`]).
//!
//! An envelope that needs none of this passes as the bytes it came in. A changed one is copied and gets fields appended:
//! of a scalar field the last occurrence counts, and entries of a map just add up. Only where something has to go (a
//! replaced tag, a counter without its total) it is copied field by field, so that no reader ever depends on how
//! repetition is resolved.

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

/// Field numbers of `Envelope` that are written or looked for here.
mod field {
    pub(super) const SOURCE_ID: u32 = 2;
    pub(super) const COUNTER: u32 = 5;
    pub(super) const TAGS: u32 = 9;
}

/// Applies the agent's rules; shared by all streams.
#[derive(Debug)]
pub struct Rewriter {
    defaults: DefaultTags,
    counters: CounterTotals,
}

/// A batch after the agent's rules were applied.
#[derive(Debug)]
pub struct Rewritten {
    /// As many envelopes as came in, in the same order; the same bytes if nothing had to change.
    pub batch: Batch,
    /// How many got their source id from their origin.
    pub origin_mappings: u64,
}

impl Rewriter {
    /// A rewriter that adds `defaults` and keeps the running totals of at most `max_series` counters.
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
        let mut builder: Option<BatchBuilder> = None;
        for (index, envelope) in batch.iter().enumerate() {
            let change = pass.envelope(envelope);
            if change != Change::None && builder.is_none() {
                let mut begun = BatchBuilder::new();
                begun.reserve(
                    batch.len(),
                    batch.byte_len() + (batch.len() - index) * self.defaults.byte_len(),
                );
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
                // It was well formed before, so it is now.
                Change::Fresh => builder.push_raw(envelope),
            }
        }
        let origin_mappings = pass.origin_mappings;
        let batch = builder.map_or(batch, |mut builder| builder.finish());
        Rewritten { batch, origin_mappings }
    }
}

/// What becomes of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    /// Default tags are added.
    Tags(Missing),
    /// It was written again, into `fresh`.
    Fresh,
}

/// One pass over a batch.
struct Pass<'r> {
    rewriter: &'r Rewriter,
    fresh: Vec<u8>,
    origin_mappings: u64,
}

impl Pass<'_> {
    /// Applies the rules to one envelope.
    fn envelope(&mut self, envelope: RawEnvelope<'_>) -> Change {
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

    /// The common case: nothing but default tags can be missing.
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

    /// The general case.
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

/// A counter to be written again.
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

/// Copies the fields of `message` that `drop` does not name, each as it lies.
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

/// Length of a string field with a one-byte key.
const fn tag_len(len: usize) -> usize {
    1 + weir_envelope::wire::varint_len(len as u64) + len
}

#[cfg(test)]
mod tests;
