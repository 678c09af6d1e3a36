//! A client of any NATS, and the messages of routing that travel over it (contract compute-routing §13.2, §16, §17).
//!
//! ```text
//! NatsSettings ─▶ NatsClient ─┬─ subscribe ─▶ Subscription ─▶ Message ─▶ RegistryMessage::read
//!   servers, identity, user   ├─ publish, publish_json
//!                             └─ state ─▶ Connected | Lost since
//! ```
//!
//! A client knows all servers, connects in the background and never gives up; subscriptions are made again on each new
//! connection. NATS delivers at most once: what is published while the connection is lost is refused, not queued, because
//! routes are registered again soon. A subscription that is read too slowly loses messages, which [`NatsClient::dropped`]
//! counts.

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
mod routing;
mod settings;

pub use client::{ConnectionState, Message, NatsClient, Subscription};
pub use error::NatsError;
pub use routing::{MessageError, RegistryMessage, RouteOptions, RouterStart, subjects};
pub use settings::NatsSettings;
