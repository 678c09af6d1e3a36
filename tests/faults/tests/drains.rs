//! Failures of syslog drains: each line is delivered in order, or counted.
//!
//! By default, drains are away for a short time, so that all tests take a minute. `WEIR_DRILL_SECONDS=120` sets the
//! length of real outages.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]
mod drains {
    mod away;
    mod disk;
    mod drill;
    mod feed;
    mod killed;
    mod whole;
}
