//! Routes envelopes to the drains that want them.
//!
//! An immutable [`Table`] says which drain wants what of which source. It is replaced as a whole when the bindings
//! change. A batch is traversed once. A drain that wants the whole batch shares its bytes. A drain that wants a part
//! gets a copy of it, so that a few lines of one app do not keep the whole batch in memory.

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

/// The router of an agent.
#[derive(Debug)]
pub(crate) struct Router {
    table: RwLock<Arc<Table>>,
    env: Arc<Env>,
    origin_mappings: OriginMappings,
}

// Allocations per batch would dominate the cost of routing, so each thread keeps its buffers.
thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// The buffers for routing one batch. They are reused for the next one.
#[derive(Default)]
struct Scratch {
    /// For each drain, the positions of its envelopes in the batch.
    picks: Vec<Vec<u32>>,
    /// The drains that get at least one envelope of the batch.
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

    /// Uses `table` for all batches from now on.
    pub(crate) fn replace(&self, table: Table) {
        *self.table.write() = Arc::new(table);
    }

    /// Gives `parcel`, or the part that it wants, to each drain. Never waits.
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
        // The last drain takes the receipts themselves, so that one copy of them is saved.
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

    /// Returns the batch with the tag `origin` as the source id of each envelope that has none (logging §7).
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
