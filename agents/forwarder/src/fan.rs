//! Gives each batch to every downstream.

use std::sync::Arc;

use weir_agents_lib::rewrite::{Rewriter, Rewritten};
use weir_agents_lib::{Buffer, OriginMappings};
use weir_flow::{Ledger, Parcel, Reason};

/// Rewrites received batches and puts them into the buffers of all downstreams, which share the bytes.
#[derive(Debug)]
pub(crate) struct FanOut {
    pub(crate) rewriter: Rewriter,
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) origin_mappings: OriginMappings,
}

impl FanOut {
    pub(crate) fn take(&self, parcel: Parcel) {
        let Rewritten { batch, origin_mappings } = self.rewriter.rewrite(parcel.batch);
        self.origin_mappings.add(origin_mappings);
        let parcel = Parcel {
            batch,
            receipts: parcel.receipts,
        };
        match self.buffers.split_last() {
            Some((last, others)) => {
                // The producer's loss report counts an envelope once, even if several downstreams lose it.
                for (branch, buffer) in others.iter().enumerate() {
                    buffer.push(parcel.for_branch(branch));
                }
                last.push(parcel.for_branch(others.len()));
            }
            None => self.ledger.lost("egress", Reason::NoDestination, &parcel.lose()),
        }
    }
}
