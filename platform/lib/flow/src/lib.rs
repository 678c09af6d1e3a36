//! Bounded fair queues, receipts and the drop ledger.
