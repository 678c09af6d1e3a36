//! A client of the routing API (`cloudfoundry/routing-api`, contract "Routing API"), and the models of its interface, which
//! the server uses as well.
//!
//! ```text
//! RoutingApi::new(settings) ─▶ upsert, delete and list: HTTP routes, TCP routes, router groups
//!                          └─▶ http_events(), tcp_events() ─▶ EventStream: Connected, Upsert, Delete
//! ```
//!
//! - [`models`]: what is sent and received, as JSON, and the rules for modification tags and reservable ports.
//! - [`RoutingApi`]: calls with a token that UAA gives to a client. A refused token is replaced once for each call.
//! - [`EventStream`]: server-sent events, connected again as often as it takes. [`EventParser`] does no input or output.
//!
//! Limits: a call takes at most 60 s, an answer 128 MiB, an event 1 MiB.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod client;
mod error;
mod event;
mod events;
pub mod models;
mod settings;
mod token;

pub use client::RoutingApi;
pub use error::{ApiError, ClientError};
pub use event::{Event, EventParser, EventTooLarge};
pub use events::{EventStream, Mapping, Update};
pub use settings::{RawRoutingApi, RoutingApiSettings};
