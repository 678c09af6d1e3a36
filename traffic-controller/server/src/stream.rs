//! Streams from a subscription to a WebSocket, with a conversion to v1.

pub(crate) mod client;
mod feed;
pub(crate) mod filter;
pub(crate) mod host;
mod outgoing;
mod reader;
mod sender;
pub(crate) mod session;
