//! Connections to drains over real sockets: receivers that close, stall, refuse, and answer wrongly.
//!
//! All sockets are on the loopback interface with ports that the system chose. Each condition is awaited for at most
//! [`support::LONG`].

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests may say what must hold in the shortest way, and wait as they like"
)]

#[path = "drains/collector.rs"]
mod collector;
#[path = "drains/support.rs"]
mod support;

#[path = "drains/http.rs"]
mod http;
#[path = "drains/probe.rs"]
mod probe;
#[path = "drains/reach.rs"]
mod reach;
#[path = "drains/tcp.rs"]
mod tcp;
#[path = "drains/tls.rs"]
mod tls;
