//! A server of the core NATS protocol: publish and subscribe, wildcards, queue groups, headers, requests without responders.
//!
//! ```text
//! Connections ─▶ Front: INFO, TLS ─▶ Connection: reads ─▶ protocol::parse ─▶ Session ─▶ Table: who subscribes
//!                                               writes ◀─ Outbound of each subscriber ◀───┘
//! ```
//!
//! - A connection is one task. All that one read brings is a batch: its messages are appended to the buffers of their
//!   subscribers, and each subscriber is woken once.
//! - The table of subjects is a tree behind a lock; a connection keeps what it has looked up until any subscription changes.
//! - NATS delivers at most once. A client that takes its messages too slowly is disconnected, counted and logged
//!   (`slow_consumer`); others are served meanwhile.
//! - Everything is bounded: control lines, payloads, what waits for one client and for all of them, unfinished messages,
//!   subscriptions, connections, and the time until a client has said who it is.
//!
//! The behaviour is that of nats-server 2.15 without clusters, accounts and JetStream; the texts of errors are its own.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

mod budget;
mod client;
mod component;
mod config;
mod connection;
mod ending;
mod error;
mod hello;
pub mod job;
mod message;
mod metrics;
mod outbound;
pub mod protocol;
mod server;
mod session;
mod subject;
mod table;

pub use config::{Config, RawConfig};
pub use error::Error;
pub use server::Server;
