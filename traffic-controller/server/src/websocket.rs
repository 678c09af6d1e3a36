//! The WebSocket protocol (RFC 6455, server side), as far as a stream of binary messages needs it.
//!
//! Frames are written straight into the outgoing buffer ([`frame`]), client frames are parsed without storing them
//! ([`parser`]), and [`keepalive`] says when to ping. No extension is offered, so there is no compression.

pub(crate) mod frame;
pub(crate) mod keepalive;
pub(crate) mod parser;
