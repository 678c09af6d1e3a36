//! Prepares envelopes in wire form for the columns.
//!
//! An envelope is read in one walk over its fields, and its tags in a second one. No owned values are decoded. Once the
//! buffers of a batch exist, nothing is allocated for an envelope unless its tag set is new. All of this happens before
//! the store is locked, so that only look-ups and copies are left to do under the lock.

use std::ops::Range;

use ahash::RandomState;
use weir_envelope::batch::{Kind, RawEnvelope};
use weir_envelope::view::{Message, Stream};
use weir_envelope::wire::put_bytes;

use crate::identity::HeadWriter;
use crate::limits::{Class, Sizing};
use crate::shape::ShapeWriter;

/// The number of envelopes that are prepared and then stored at a time. It bounds how long ingest holds the lock.
const SLICE: usize = 128;

/// The memory that an envelope may take beside its own bytes: its columns, and the tables' entries for a new tag set
/// and a new name.
const OVERHEAD: usize = 320;

/// The parts of an envelope, which lie in the batch or in the preparer's scratch memory.
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

/// Where the payload of a row lies: in the batch, or in the preparer's scratch memory.
#[derive(Debug)]
enum Payload<'a> {
    Borrowed(&'a [u8]),
    Scratch(Range<usize>),
}

impl<'a> Prepared<'a> {
    /// The instance id and tags in canonical form ([`crate::identity`]).
    #[inline]
    pub(crate) fn head<'s>(&self, scratch: &'s [u8]) -> &'s [u8] {
        &scratch[self.head.clone()]
    }

    /// The names and units of a metric ([`crate::shape`]).
    #[inline]
    pub(crate) fn shape<'s>(&self, scratch: &'s [u8]) -> &'s [u8] {
        &scratch[self.shape.clone()]
    }

    /// The part that only this row has ([`crate::rows`]).
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

/// Prepares envelopes, one slice at a time.
#[derive(Debug)]
pub(crate) struct Preparer<'a> {
    hasher: &'a RandomState,
    heads: HeadWriter<'a>,
    shapes: ShapeWriter<'a>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) envelopes: Vec<Prepared<'a>>,
    /// By class, the most memory that the slice may take.
    pub(crate) costs: [usize; Class::ALL.len()],
    /// The envelopes of the slice that are larger than the store accepts.
    pub(crate) too_large: Vec<RawEnvelope<'a>>,
}

impl<'a> Preparer<'a> {
    pub(crate) fn new(hasher: &'a RandomState, envelopes: usize) -> Self {
        Self {
            hasher,
            heads: HeadWriter::default(),
            shapes: ShapeWriter::default(),
            // 128 bytes are enough for the tags of most envelopes.
            scratch: Vec::with_capacity(envelopes.min(SLICE) * 128),
            envelopes: Vec::with_capacity(envelopes.min(SLICE)),
            costs: [0; Class::ALL.len()],
            too_large: Vec::new(),
        }
    }

    /// Prepares the next slice, and returns whether any envelope was left.
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
            // A slice may be larger than an active part only by its last envelope, so admission reserves little in
            // advance.
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
                    // As in protobuf, an empty text is left out.
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
