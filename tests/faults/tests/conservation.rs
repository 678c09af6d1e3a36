//! Conservation under faults: each envelope is delivered, or counted where it was lost.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
mod conservation {
    mod consumers;
    mod kills;
    mod neighbours;
}
