//! Hostile input at every port of a running stack: each gets a clear error, others are served on, memory stays in its budget,
//! nothing panics.

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

    /// More than any stack needs that holds a few thousand lines; far less than what the hostile inputs ask for.
    pub(crate) const MEMORY: u64 = 1536 << 20;
}
