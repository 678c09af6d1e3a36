//! From what came in to the drains that want it.
//!
//! An immutable [`Table`] says who wants what of which source; it is replaced as a whole when the bindings change. A batch
//! is looked through once. A drain that wants all of it shares its bytes, one that wants a part gets that copied, so that a
//! few lines of one app never keep everybody else's in memory.

mod table;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;
use weir_agents_lib::OriginMappings;
use weir_envelope::batch::{Batch, BatchBuilder};
use weir_envelope::encode::Writer;
use weir_flow::Parcel;

use crate::drain::{Drain, Env};

pub(crate) use table::Table;

/// Routes batches to drains.
#[derive(Debug)]
pub(crate) struct Router {
    table: RwLock<Arc<Table>>,
    env: Arc<Env>,
    origin_mappings: OriginMappings,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// What one batch needs and the next one can use again.
#[derive(Default)]
struct Scratch {
    /// Positions of the envelopes for each drain.
    picks: Vec<Vec<u32>>,
    /// Drains that get something.
    touched: Vec<u32>,
}

impl Router {
    pub(crate) fn new(env: &Arc<Env>, origin_mappings: OriginMappings) -> Self {
        Self {
            table: RwLock::default(),
            env: Arc::clone(env),
            origin_mappings,
        }
    }

    /// From now on this table counts.
    pub(crate) fn replace(&self, table: Table) {
        *self.table.write() = Arc::new(table);
    }

    /// Hands `parcel` to every drain that wants a part of it. Never waits.
    pub(crate) fn route(&self, mut parcel: Parcel) {
        let table = Arc::clone(&self.table.read());
        if table.is_empty() {
            return;
        }
        if parcel
            .batch
            .iter()
            .any(|envelope| envelope.source_id_bytes().is_empty())
        {
            parcel.batch = self.with_origins(&parcel.batch);
        }
        SCRATCH.with_borrow_mut(|scratch| self.route_with(&table, parcel, scratch));
    }

    fn route_with(&self, table: &Table, parcel: Parcel, scratch: &mut Scratch) {
        let Scratch { picks, touched } = scratch;
        picks.resize_with(table.len().max(picks.len()), Vec::new);
        let mut targets = table.targets();
        for (index, envelope) in (0u32..).zip(parcel.batch.iter()) {
            targets.of(envelope, |drain| {
                let picked = &mut picks[drain as usize];
                if picked.is_empty() {
                    touched.push(drain);
                }
                picked.push(index);
            });
        }
        let now = self.env.clock.instant();
        let mut routed = 0;
        let mut deliver = |drain: &Drain, batch: Batch, receipts| {
            routed += batch.len() as u64;
            drain.push(Parcel { batch, receipts }, now);
        };
        // The last one needs no receipts of its own.
        let last = touched.pop();
        for drain in touched.drain(..) {
            let picked = &mut picks[drain as usize];
            if let Some(batch) = parcel.batch.pick(picked) {
                deliver(table.drain(drain), batch, parcel.receipts.clone());
            }
            picked.clear();
        }
        if let Some(drain) = last {
            let picked = &mut picks[drain as usize];
            if let Some(batch) = parcel.batch.pick(picked) {
                deliver(table.drain(drain), batch, parcel.receipts);
            }
            picked.clear();
        }
        self.env.routed.fetch_add(routed, Ordering::Relaxed);
    }

    /// The same batch; an envelope without a source id gets its origin for one (logging §7).
    fn with_origins(&self, batch: &Batch) -> Batch {
        let mut builder = BatchBuilder::new();
        builder.reserve(batch.len(), batch.byte_len());
        let mut mapped = 0;
        for envelope in batch.iter() {
            let origin = match envelope.source_id_bytes() {
                [] => envelope.view().tag("origin").filter(|origin| !origin.is_empty()),
                _ => None,
            };
            let taken = origin.is_some_and(|origin| {
                mapped += 1;
                builder.push_with(|out| {
                    out.extend_from_slice(envelope.bytes());
                    Writer::new(out).source_id(&origin);
                })
            });
            if !taken {
                builder.push_raw(envelope);
            }
        }
        self.origin_mappings.add(mapped);
        builder.finish()
    }
}
