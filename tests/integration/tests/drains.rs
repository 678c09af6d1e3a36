//! Syslog drains against receivers that are not ours, and against collectors that misbehave.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]

mod drains {
    mod feed;
    mod https;
    mod model;
    mod receivers;
    mod sending;
    mod trust;
}
