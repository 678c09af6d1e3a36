//! Syslog drains to other products, and to collectors with faults.

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
