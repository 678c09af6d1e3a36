//! The HTTP side: routes, authorization, and the WebSocket handshake.

mod cookie;
mod handshake;
mod origin;
pub(crate) mod route;
pub(crate) mod service;
mod text;

/// The body of a response.
pub(crate) type Body = http_body_util::Full<bytes::Bytes>;
