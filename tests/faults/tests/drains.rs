//! What happens to syslog drains when something goes wrong: what was sent is delivered in order, or counted.
//!
//! The drills are scaled down so that all of them take a minute; `WEIR_DRILL_SECONDS=120` lets a drain be away for as long
//! as the original's complaints are about.

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
