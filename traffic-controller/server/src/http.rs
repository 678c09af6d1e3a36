//! HTTP: what a request asks for, who asks, and the WebSocket handshake.

mod cookie;
mod handshake;
mod origin;
pub(crate) mod route;
pub(crate) mod service;
mod text;

/// What answers carry.
pub(crate) type Body = http_body_util::Full<bytes::Bytes>;
