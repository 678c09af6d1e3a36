//! The links that carry envelopes between the components of the stack, with acknowledgements, over [`weir_net`]'s gRPC.
//!
//! - [`ingress`] is `loggregator.v2.Ingress`, from a producer or an agent to an agent or a doppler. [`ingress::Link`]
//!   is its client, [`ingress::IngressServer`] its server, and [`producer`] a client that waits for the
//!   acknowledgements.
//! - [`subscriber`] is the client of `loggregator.v2.Egress/BatchedReceiver`, from dopplers to the RLP, the traffic
//!   controller and the log cache. [`egress`] is its server.
//!
//! Both speak the original's protocol with any peer. Between themselves, components of Weir number their messages and
//! acknowledge what was handed on, in a field and in metadata that the original ignores ([`link`] describes them).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

pub mod egress;
pub mod ingress;
pub mod link;
pub mod producer;
pub mod subscriber;
