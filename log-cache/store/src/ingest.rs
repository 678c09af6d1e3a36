//! From the wire into columns.
//!
//! An envelope is read in one walk over its fields, and its tags in a second one over theirs; nothing is decoded into
//! owned values and, once the buffers of a batch are there, nothing is allocated for an envelope unless its tag set is
//! new. All this happens before the store is locked: what is left to do under the lock are look-ups and copies.

use std::ops::Range;

use ahash::RandomState;
use weir_envelope::batch::{Kind, RawEnvelope};
use weir_envelope::view::{Message, Stream};
use weir_envelope::wire::put_bytes;

use crate::identity::HeadWriter;
use crate::limits::{Class, Sizing};
use crate::shape::ShapeWriter;

/// Envelopes that are prepared at once, and so the longest time that ingest holds the lock.
const SLICE: usize = 128;

/// What an envelope may take beside its own bytes: columns, and tables for a tag set and a name that are new.
const OVERHEAD: usize = 320;

/// An envelope taken apart; its parts lie in the batch or in the preparer's scratch memory.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub(crate) source_id: &'a str,
    pub(crate) source_hash: u32,
    pub(crate) kind: Kind,
    pub(crate) timestamp: i64,
    pub(crate) head_hash: u64,
    pub(crate) shape_hash: u64,
    pub(crate) err: bool,
    head: Range<usize>,
    shape: Range<usize>,
    payload: Payload<'a>,
}

#[derive(Debug)]
enum Payload<'a> {
    Borrowed(&'a [u8]),
    Scratch(Range<usize>),
}

impl<'a> Prepared<'a> {
    /// Instance and tags in canonical form.
    #[inline]
    pub(crate) fn head<'s>(&self, scratch: &'s [u8]) -> &'s [u8] {
        &scratch[self.head.clone()]
    }

    /// Names and units.
    #[inline]
    pub(crate) fn shape<'s>(&self, scratch: &'s [u8]) -> &'s [u8] {
        &scratch[self.shape.clone()]
    }

    /// What the row keeps for itself.
    #[inline]
    pub(crate) fn payload<'s>(&self, scratch: &'s [u8]) -> &'s [u8]
    where
        'a: 's,
    {
        match &self.payload {
            Payload::Borrowed(bytes) => bytes,
            Payload::Scratch(range) => &scratch[range.clone()],
        }
    }
}

/// Takes envelopes apart, a slice at a time.
#[derive(Debug)]
pub(crate) struct Preparer<'a> {
    hasher: &'a RandomState,
    heads: HeadWriter<'a>,
    shapes: ShapeWriter<'a>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) envelopes: Vec<Prepared<'a>>,
    /// By class, the most memory that the slice may take.
    pub(crate) costs: [usize; Class::ALL.len()],
    /// Envelopes of the slice that are larger than the store takes.
    pub(crate) too_large: Vec<RawEnvelope<'a>>,
}

impl<'a> Preparer<'a> {
    pub(crate) fn new(hasher: &'a RandomState, envelopes: usize) -> Self {
        Self {
            hasher,
            heads: HeadWriter::default(),
            shapes: ShapeWriter::default(),
            scratch: Vec::with_capacity(envelopes.min(SLICE) * 128),
            envelopes: Vec::with_capacity(envelopes.min(SLICE)),
            costs: [0; Class::ALL.len()],
            too_large: Vec::new(),
        }
    }

    /// Prepares the next slice; returns whether there was anything left.
    pub(crate) fn fill(
        &mut self,
        envelopes: &mut impl Iterator<Item = RawEnvelope<'a>>,
        sizing: &[Sizing; Class::ALL.len()],
    ) -> bool {
        self.scratch.clear();
        self.envelopes.clear();
        self.too_large.clear();
        self.costs = [0; Class::ALL.len()];
        let mut any = false;
        while self.envelopes.len() < SLICE {
            let Some(envelope) = envelopes.next() else { break };
            any = true;
            let class = Class::of(envelope.kind());
            let sizing = &sizing[class as usize];
            let len = envelope.bytes().len();
            if len > sizing.max_envelope {
                self.too_large.push(envelope);
                continue;
            }
            self.prepare(envelope);
            let cost = &mut self.costs[class as usize];
            *cost += len + OVERHEAD;
            if *cost > sizing.active_bytes {
                break;
            }
        }
        any
    }

    #[inline]
    fn prepare(&mut self, envelope: RawEnvelope<'a>) {
        let summary = envelope.view().summary();
        let scratch = &mut self.scratch;
        let start = scratch.len();
        self.heads.write(&summary, scratch);
        let head = start..scratch.len();
        self.shapes.write_shape(&summary.message, scratch);
        let shape = head.end..scratch.len();
        let mut err = false;
        let payload = match summary.message {
            Message::Log { payload, stream } => {
                err = stream == Stream::Err;
                Payload::Borrowed(payload)
            }
            Message::Event { title, body } => {
                for (field, text) in [(1, title), (2, body)] {
                    if !text.is_empty() {
                        put_bytes(scratch, field, text.as_bytes());
                    }
                }
                Payload::Scratch(shape.end..scratch.len())
            }
            ref metrics => {
                self.shapes.write_numbers(metrics, scratch);
                Payload::Scratch(shape.end..scratch.len())
            }
        };
        self.envelopes.push(Prepared {
            source_id: summary.source_id,
            source_hash: envelope.source_hash(),
            kind: envelope.kind(),
            timestamp: summary.timestamp,
            head_hash: self.hasher.hash_one(&scratch[head.clone()]),
            shape_hash: if shape.is_empty() {
                0
            } else {
                self.hasher.hash_one(&scratch[shape.clone()])
            },
            err,
            head,
            shape,
            payload,
        });
    }
}
