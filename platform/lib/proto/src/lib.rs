//! Generated protobuf messages and services of every wire protocol Weir speaks, checked in.
//!
//! The `.proto` files under `proto/` are ours, written from the wire contract; `cargo run -p weir-xtask -- proto`
//! turns them into `src/generated/` without protoc, and a test of `weir-xtask` fails when the two differ. Maps are
//! `BTreeMap`s, so that encoding is deterministic, and `bytes` fields are [`Bytes`](prost::bytes::Bytes), so that decoding
//! does not copy.
//!
//! These owned types are for edges and tests. The data plane carries envelopes as bytes (`weir-envelope`).

/// `loggregator.v2`: the v2 envelope, and ingress and egress of agents, dopplers and reverse log proxies.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod loggregator_v2 {
    include!("generated/loggregator.v2.rs");
}

/// `events`: the v1 (dropsonde) envelope, proto2.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod events {
    include!("generated/events.rs");
}

/// `logcache.v1`: ingress, egress and PromQL of the log cache.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
pub mod logcache_v1 {
    include!("generated/logcache.v1.rs");
}
