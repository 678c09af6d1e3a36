//! The server side of the WebSocket protocol (RFC 6455), as far as a stream of binary messages needs it.
//!
//! [`frame`] writes frames directly into the outgoing buffer, [`parser`] parses client frames without storing data, and
//! [`keepalive`] decides when to ping. No extension is offered, so there is no compression.

pub(crate) mod frame;
pub(crate) mod keepalive;
pub(crate) mod parser;
