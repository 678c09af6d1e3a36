//! The lazy envelope: raw batches, borrowing views, selectors, v1 and v2 conversion.
//!
//! An envelope is decoded only where someone reads it. Between agents, doppler and RLP it is a slice of the protobuf it
//! arrived in ([`batch`]); readers look at it through borrowing views ([`view`]); owned prost types (`weir-proto`) are for
//! edges and tests.

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
