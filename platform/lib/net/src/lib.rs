//! The network, for every component: ports, HTTP servers, and gRPC over mTLS. Knows no envelope.
//!
//! - The one way in of all ports: [`Connections`] accepts, with deadlines, places and budgets ([`PortLimits`]).
//! - HTTP servers whose clients have to keep up: [`serve_http`].
//! - The HTTPS client: [`HttpsClient`].
//! - gRPC messages as the bytes that they are: [`Messages`] cuts them out of what HTTP/2 received, [`Frame`] puts them
//!   together. Servers ([`GrpcServer`]) implement [`RawService`], one method call at a time; clients have a [`Channel`].
//! - The trace that a request belongs to: [`adopt_trace`], [`send_trace`].

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
