//! The network layer of every component: ports, HTTP servers and clients, and gRPC over mTLS. It does not depend on
//! envelopes.
//!
//! - [`Connections`] accepts the connections of every port, with deadlines, bounded places and budgets
//!   ([`PortLimits`]).
//! - [`serve_http`] serves HTTP and closes the connections of clients that do not keep up.
//! - [`HttpsClient`] makes HTTPS requests.
//! - [`Messages`] and [`Frame`] carry gRPC messages as encoded bytes: `Messages` cuts received messages out of HTTP/2
//!   data, `Frame` is a message to send. A [`GrpcServer`] serves implementations of [`RawService`]; a client has a
//!   [`Channel`].
//! - [`adopt_trace`] and [`send_trace`] carry the trace that a request belongs to.

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
mod client;
mod frame;
pub mod grpc;
mod handover;
mod http;
mod listen;
mod messages;
mod outgoing;
mod port;
mod propagation;
mod proxy_protocol;
mod server;
mod service;
mod socket;

pub use backoff::Backoff;
pub use channel::{Channel, Target};
pub use client::{AnswerBody, AnswerLimits, HttpsClient, HttpsError};
pub use frame::Frame;
pub use handover::Handover;
pub use http::{BodyError, RequestBody, read_body, serve_http, serve_http_within, serve_plain_http};
pub use listen::{ServerError, listen};
pub use messages::Messages;
pub use port::{
    Connection, Connections, Exceeded, HeldBytes, Place, PortLimits, RawPortLimits, Scope, SharedPlaces, UnderWay,
};
pub use propagation::{adopt_trace, send_trace};
pub use proxy_protocol::{ProxiedAddresses, ProxyHeader, ProxyVersion};
pub use server::GrpcServer;
pub use service::{FrameStream, RawServer, RawService, one_frame, only_message};
