//! The log cache's store: envelopes in memory, in Arrow columns.
//!
//! # Way in
//! [`Store::ingest`] reads each envelope of a batch straight from the wire (`ingest`), notes it at its source
//! (`source`), finds it a timestamp of its own (`place`) and appends it to the *active part* of its kind (`lane`). A few thousand rows make a *chunk*
//! (`chunk`), sorted by source, timestamp and sequence number, immutable; small chunks are merged into larger ones
//! in the background (`maintain`). What was taken is visible to every reader at once.
//!
//! # Ways out
//! [`Store::read`] and [`Store::meta`] answer the log cache's clients; [`Store::snapshot`] and [`table`] show the rows as
//! Arrow tables to SQL; [`Store::tap`] hands new rows to followers.
//!
//! # Limits
//! Logs and metrics have a budget each ([`Limits`]), in bytes of memory, enforced before anything is admitted. When one
//! is exhausted the heaviest sources lose their oldest rows first, then the oldest rows go whoever's they are; each is
//! counted as `expired` at its source. No source keeps more than `max_per_source` rows of a kind.
//!
//! # What must hold
//! - Of each source and kind exactly the rows that arrived last are visible: all from some ordinal on.
//! - `seq` numbers a source's envelopes of all kinds, without gaps as long as the source is known, and is never used again:
//!   a source begins at the time that it came up (`numbering`).
//! - No two rows of a source have one timestamp (`place`).
//! - Chunks of a kind follow each other in the order of arrival. (A chunk says nothing of others and never changes: it is
//!   what a file of a durable store will be written from.)

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
mod place;
mod read;
mod rows;
mod shape;
mod snapshot;
mod source;
mod store;
pub mod table;
mod tap;
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
pub use tap::{Tap, Tapped};
pub use visibility::Visibility;

#[cfg(test)]
mod tests;
