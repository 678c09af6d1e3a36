//! Envelopes that stay encoded: raw batches, borrowing views, selectors, and the conversions between v1, v2 and JSON.
//!
//! An envelope is decoded only where a component reads its contents. Between agents, doppler and RLP it is a slice of
//! the protobuf message in which it arrived ([`batch`]). Readers look at it through borrowing views ([`view`]). The
//! owned prost types (`weir-proto`) are for the edges of the stack and for tests. The crate's README.md is a map of the
//! modules.

pub mod batch;
pub mod encode;
pub mod json;
pub mod number;
mod scan;
pub mod selector;
pub mod tags;
pub mod v1;
pub mod view;
pub mod wire;

#[cfg(test)]
mod testing;
