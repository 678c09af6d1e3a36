//! The store of the log cache: envelopes in memory, in Arrow columns.
//!
//! # Writing
//! [`Store::ingest`] reads each envelope of a batch from its wire form (`ingest`), counts it at its source (`source`),
//! gives it a timestamp that is unique within the source (`timestamps`) and appends it to the *active part* of its kind
//! (`lane`). A few thousand rows become a *chunk* (`chunk`), which is sorted by source, timestamp and sequence number
//! and never changes. Small chunks are merged into larger ones in the background (`maintain`). A stored row is visible
//! to every reader at once.
//!
//! # Reading
//! [`Store::read`] and [`Store::meta`] answer the clients of the log cache. [`Store::snapshot`] and [`table`] give the
//! rows to SQL as Arrow tables. [`Store::tap`] passes new rows to followers.
//!
//! # Limits
//! Logs and metrics have one budget each ([`Limits`]), in bytes of memory, which is enforced before rows are admitted.
//! When a budget is exhausted, the sources that hold the most lose their oldest rows first, and after that the oldest
//! rows of all sources go. Each of them is counted as `expired` at its source. No source keeps more than
//! `max_per_source` rows of a kind.
//!
//! # Invariants
//! - The visible rows of a source and kind are exactly those that arrived last: all from some ordinal on.
//! - `seq` numbers a source's envelopes of all kinds. It has no gaps as long as the source is known, and no number is
//!   used twice, because a source starts with the time at which it appeared (`numbering`).
//! - No two rows of a source have the same timestamp (`timestamps`).
//! - The chunks of a kind are in the order of arrival. A chunk refers to no other chunk and never changes, so that a
//!   durable store can write it to a file as it is.

mod chunk;
mod identity;
mod ingest;
mod intern;
mod lane;
mod limits;
mod maintain;
mod memo;
mod meta;
mod numbering;
mod read;
mod rows;
mod shape;
mod snapshot;
mod source;
mod store;
pub mod table;
mod tap;
mod timestamps;
mod visibility;

pub use chunk::{Chunk, Run};
pub use identity::Identity;
pub use limits::{Class, Limits, MIN_BUDGET};
pub use maintain::Maintainer;
pub use memo::Memo;
pub use meta::SourceMeta;
pub use read::{Page, ReadError, ReadQuery};
pub use rows::Rows;
pub use shape::Shape;
pub use snapshot::{Selection, Snapshot, TimeRange};
pub use source::Source;
pub use store::{Ingested, Stats, Store};
pub use tap::{Tap, TapEvent};
pub use visibility::Visibility;

#[cfg(test)]
mod tests;
