//! The NATS server over real connections: raw ones, hostile ones, the client library of the stack, and the same dialogues
//! with the original.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]

mod clients;
mod dialogues;
mod hostile;
mod original;
mod running;
mod wire;
