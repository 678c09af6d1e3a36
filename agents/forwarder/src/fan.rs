//! One batch in, the same bytes to every downstream.

use std::sync::Arc;

use weir_agents_lib::rewrite::{Rewriter, Rewritten};
use weir_agents_lib::{Buffer, OriginMappings};
use weir_flow::{Ledger, Parcel, Reason};

/// What becomes of each batch that came in.
#[derive(Debug)]
pub(crate) struct Fan {
    pub(crate) rewriter: Rewriter,
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) origin_mappings: OriginMappings,
}

impl Fan {
    pub(crate) fn take(&self, parcel: Parcel) {
        let Rewritten { batch, origin_mappings } = self.rewriter.rewrite(parcel.batch);
        self.origin_mappings.add(origin_mappings);
        let parcel = Parcel {
            batch,
            receipts: parcel.receipts,
        };
        match self.buffers.split_last() {
            Some((last, others)) => {
                for (branch, buffer) in others.iter().enumerate() {
                    buffer.push(parcel.for_branch(branch));
                }
                last.push(parcel.for_branch(others.len()));
            }
            None => self.ledger.lost("egress", Reason::NoDestination, &parcel.lose()),
        }
    }
}
