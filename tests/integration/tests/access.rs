//! Who may read what: tenants with tokens of a real UAA on every public face, and docs/security.md port by port.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]

mod access {
    mod crowds;
    mod faces;
    mod ports;
    mod rights;
    mod rows;
    mod tenants;
    mod tokens;
    mod uaa;
    mod wire;
}
