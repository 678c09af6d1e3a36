//! gRPC over mTLS: the raw codec, servers, channels, and links with acknowledgements.
//!
//! Between the parts of the stack gRPC messages are handed over as the bytes that they are: [`Messages`] cuts them out of
//! what HTTP/2 received, [`Frame`] puts them together. Servers implement [`RawService`], one method call at a time. On top of that stand the two links that
//! carry envelopes:
//!
//! - [`ingress`]: `loggregator.v2.Ingress`, from a producer or an agent to an agent or a doppler ([`ingress::Link`] is
//!   its client, [`ingress::serve`] its server);
//! - [`subscriber`]: `loggregator.v2.Egress/BatchedReceiver`, from dopplers to the RLP, the traffic controller and the
//!   log cache ([`egress`] is its server).
//!
//! Both speak the original's protocol with any peer. With each other, Weir's parts number their messages and acknowledge
//! what was handed on, in a field and in metadata that the original ignores ([`link`] draws them).

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod backoff;
mod channel;
pub mod egress;
mod frame;
pub mod handover;
mod http;
pub mod ingress;
pub mod link;
mod messages;
mod net;
mod outgoing;
pub mod producer;
mod server;
mod service;
mod socket;
pub mod subscriber;

pub use backoff::Backoff;
pub use channel::{Channel, Target};
pub use frame::Frame;
pub use http::{BodyError, RequestBody, read_body, serve_http, serve_http_within};
pub use messages::Messages;
pub use net::{
    Connection, Connections, Exceeded, HeldBytes, PORT_LIMITS_DOCS, Place, PortLimits, RawPortLimits, Scope, UnderWay,
    port_limits,
};
pub use server::{GrpcServer, ServeError};
pub use service::{FrameStream, RawServer, RawService, one_frame, only_message};
