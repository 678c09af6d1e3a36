//! Hostile input at every port of a running stack. Each input gets a clear error, others are served, memory stays
//! within its limit, and nothing panics.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]

mod hostile {
    mod answers;
    mod bodies;
    mod envelopes;
    mod sql;
    mod transport;
    mod websocket;

    /// The limit of memory in bytes. It is more than a stack with a few thousand lines needs, and far less than the
    /// hostile input asks for.
    pub(crate) const MEMORY: u64 = 1536 << 20;
}
