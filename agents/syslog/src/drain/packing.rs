//! Packs envelopes into shipments.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use weir_drain::{Binding, Scheme};
use weir_envelope::batch::Batch;
use weir_flow::{Loss, Receipt};
use weir_syslog::{Formatter, Framing, Unconvertible};

use super::flight::Cargo;
use crate::spill::{Place, Stored, StoredContent};

/// The size in bytes from which a shipment is full.
const MAX_BYTES: usize = 64 << 10;
/// The number of messages with which a shipment is full.
const MAX_MESSAGES: usize = 500;

/// The number of sources for which the formatter of an aggregate drain remembers the beginning of a message.
const SOURCES: usize = 256;

/// Something that is waiting to be packed.
#[derive(Debug)]
pub(super) enum Load {
    /// Envelopes from memory.
    Parcel {
        batch: Batch,
        /// The number of envelopes that are packed already.
        done: u32,
        receipts: Vec<Receipt>,
        since: Instant,
        arrived: i64,
    },
    /// Envelopes from disk.
    Envelopes {
        batch: Batch,
        done: u32,
        arrived: i64,
        /// The place at which the batch begins, and the one at which it ends.
        place: Place,
        end: Place,
    },
    /// A shipment that was formatted before: it was sent already, or read from disk.
    Shipment(Cargo),
}

impl From<Stored> for Load {
    fn from(stored: Stored) -> Self {
        match stored.content {
            StoredContent::Envelopes(batch) => Self::Envelopes {
                batch,
                done: 0,
                arrived: stored.arrived,
                place: stored.place,
                end: stored.end,
            },
            StoredContent::Shipment { bytes, ends } => Self::Shipment(Cargo {
                bytes,
                ends: ends.into(),
                envelopes: stored.envelopes,
                arrived: stored.arrived,
                since: None,
                receipts: Vec::new(),
                places: vec![(stored.end, stored.envelopes)],
                differs: false,
            }),
        }
    }
}

impl Load {
    /// Returns the number of envelopes that are not packed yet.
    pub(super) fn envelopes(&self) -> u64 {
        match self {
            Self::Parcel { batch, done, .. } | Self::Envelopes { batch, done, .. } => {
                batch.len() as u64 - u64::from(*done)
            }
            Self::Shipment(cargo) => u64::from(cargo.envelopes),
        }
    }

    /// Returns the approximate size in bytes of the envelopes that are not packed yet.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Parcel { batch, .. } | Self::Envelopes { batch, .. } => {
                batch.byte_len() as u64 * self.envelopes() / (batch.len() as u64).max(1)
            }
            Self::Shipment(cargo) => cargo.bytes.len() as u64,
        }
    }

    /// Returns when the oldest envelope arrived, in nanoseconds since the epoch.
    pub(super) const fn arrived(&self) -> i64 {
        match self {
            Self::Parcel { arrived, .. } | Self::Envelopes { arrived, .. } => *arrived,
            Self::Shipment(cargo) => cargo.arrived,
        }
    }

    /// Returns the number of the segment in which it lies, or `None` if it is in memory only.
    pub(super) fn segment(&self) -> Option<u64> {
        match self {
            Self::Parcel { .. } => None,
            Self::Envelopes { place, .. } => Some(place.segment),
            Self::Shipment(cargo) => cargo.segment(),
        }
    }

    /// Returns the envelopes that are not packed yet.
    pub(super) fn rest(&self) -> Option<Batch> {
        match self {
            Self::Parcel { batch, done, .. } | Self::Envelopes { batch, done, .. } => {
                let rest: Vec<u32> = (*done..).take(batch.len() - *done as usize).collect();
                batch.pick(&rest)
            }
            Self::Shipment(_) => None,
        }
    }
}

/// The result of packing.
#[derive(Debug)]
pub(super) struct Packed {
    /// The shipment. If its bytes are empty, no envelope of it could be formatted, and it only settles its place on
    /// disk.
    pub(super) cargo: Cargo,
    /// Envelopes that have no form as messages, by reason.
    pub(super) unconvertible: Vec<(Unconvertible, Vec<Loss>)>,
}

/// Formats and packs the envelopes of one binding.
#[derive(Debug)]
pub(super) struct Packer {
    formatter: Formatter,
    framing: Framing,
    /// Whether each envelope is a shipment of its own, because an HTTP drain acknowledges each message separately.
    single: bool,
    metadata: bool,
}

impl Packer {
    pub(super) fn new(binding: &Binding, metadata: bool) -> Self {
        let scheme = binding.url.scheme();
        let metadata = binding.url.parameters().writes_metadata(metadata);
        let formatter = Formatter::new(binding.hostname(), metadata);
        let formatter = match binding.app {
            Some(_) => formatter,
            None => formatter.with_cached_sources(SOURCES),
        };
        Self {
            formatter,
            framing: if scheme.is_octet_counted() {
                Framing::OctetCounted
            } else {
                Framing::None
            },
            single: scheme == Scheme::Https,
            metadata,
        }
    }

    /// Packs the next shipment from the front of `loads`, or returns `None` if there is nothing. Envelopes from memory
    /// and from disk are not mixed, and neither are envelopes from two segments, because a shipment has one place on
    /// disk. A shipment that was packed before is returned unchanged. Any other has at most `messages` messages, unless
    /// one envelope alone gives more.
    pub(super) fn pack(&mut self, loads: &mut VecDeque<Load>, messages: usize) -> Option<Packed> {
        // A stored shipment has its messages already, and is sent as it is.
        if matches!(loads.front(), Some(Load::Shipment(_)))
            && let Some(Load::Shipment(cargo)) = loads.pop_front()
        {
            return Some(Packed {
                cargo,
                unconvertible: Vec::new(),
            });
        }
        let first = loads.front()?;
        let (segment, arrived) = (first.segment(), first.arrived());
        let since = match first {
            Load::Parcel { since, .. } => Some(*since),
            _ => None,
        };
        let mut work = Work {
            out: Vec::with_capacity(self.guess(loads)),
            ends: Vec::new(),
            envelopes: 0,
            covered: 0,
            unconvertible: Vec::new(),
            most: messages.min(if self.single { 1 } else { MAX_MESSAGES }),
        };
        let mut receipts = Vec::new();
        let mut place = None;
        while let Some(load) = loads.front_mut() {
            // A shipment never spans two segments, because settling it settles positions of one segment.
            if load.segment() != segment || matches!(load, Load::Shipment(_)) {
                break;
            }
            let whole = match load {
                Load::Parcel {
                    batch,
                    done,
                    receipts: theirs,
                    ..
                } => {
                    let whole = self.fill(batch, done, theirs.first(), &mut work);
                    if whole {
                        receipts.append(theirs);
                    } else {
                        // Later parts of the parcel need the receipts, too.
                        receipts.extend(theirs.iter().cloned());
                    }
                    whole
                }
                Load::Envelopes {
                    batch,
                    done,
                    place: start,
                    end,
                    ..
                } => {
                    let whole = self.fill(batch, done, None, &mut work);
                    place = Some(if whole {
                        *end
                    } else {
                        Place {
                            skip: start.skip + *done,
                            ..*start
                        }
                    });
                    whole
                }
                Load::Shipment(_) => break,
            };
            if !whole {
                break;
            }
            loads.pop_front();
            if work.is_full() {
                break;
            }
        }
        let Work {
            out,
            ends,
            envelopes,
            covered,
            unconvertible,
            most: _,
        } = work;
        Some(Packed {
            cargo: Cargo {
                bytes: Bytes::from(out),
                ends: ends.into(),
                envelopes,
                arrived,
                since,
                receipts,
                places: place.map(|place| (place, covered)).into_iter().collect(),
                differs: !unconvertible.is_empty(),
            },
            unconvertible,
        })
    }

    /// Formats envelopes of `batch` until the shipment is full. Returns whether the whole batch is formatted.
    fn fill(&mut self, batch: &Batch, done: &mut u32, receipt: Option<&Receipt>, work: &mut Work) -> bool {
        let skip = *done as usize;
        for envelope in batch.iter().skip(skip) {
            // The rest of the batch stays in front for the next shipment.
            if work.is_full() {
                return false;
            }
            *done += 1;
            work.covered += 1;
            match self
                .formatter
                .write(envelope.view(), self.framing, &mut work.out, &mut work.ends)
            {
                Ok(_) => work.envelopes += 1,
                Err(why) => {
                    // The producer's report counts this envelope as lost. The ledger counts it when the task takes
                    // `unconvertible`.
                    if let Some(receipt) = receipt {
                        receipt.note_lost(1);
                    }
                    work.refuse(why, envelope.source_id());
                }
            }
        }
        true
    }

    /// Estimates the size in bytes of the next shipment. A good estimate saves memory, which is held until the drain
    /// has the messages.
    fn guess(&self, loads: &VecDeque<Load>) -> usize {
        let mut bytes = 0;
        for load in loads {
            bytes += usize::try_from(load.bytes()).unwrap_or(MAX_BYTES);
            if self.single || bytes >= MAX_BYTES {
                break;
            }
        }
        // Without tags, most of an envelope is not part of its message. With them, the message is a little larger than
        // the envelope.
        let guess = if self.metadata { bytes + bytes / 4 } else { bytes / 2 };
        guess.min(MAX_BYTES + MAX_BYTES / 8) + 256
    }
}

/// A shipment that is being packed.
struct Work {
    out: Vec<u8>,
    ends: Vec<u32>,
    /// The number of envelopes whose messages are in it.
    envelopes: u32,
    /// The number of envelopes that it stands for, including those that could not be formatted.
    covered: u32,
    unconvertible: Vec<(Unconvertible, Vec<Loss>)>,
    /// The number of messages with which it is full.
    most: usize,
}

impl Work {
    const fn is_full(&self) -> bool {
        self.out.len() >= MAX_BYTES || self.ends.len() >= self.most
    }

    fn refuse(&mut self, why: Unconvertible, source_id: &str) {
        let loss = Loss {
            source_id: source_id.to_owned(),
            count: 1,
        };
        match self.unconvertible.iter_mut().find(|(known, _)| *known == why) {
            Some((_, losses)) => losses.push(loss),
            None => self.unconvertible.push((why, vec![loss])),
        }
    }
}
