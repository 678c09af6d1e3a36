//! Who may read what: tenants with tokens of a real UAA at every public interface, and each port of docs/security.md.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "tests spawn, wait and ask for the time as they like"
)]

mod access {
    mod crowds;
    mod interfaces;
    mod ports;
    mod rights;
    mod rows;
    mod tenants;
    mod tokens;
    mod uaa;
    mod wire;
}
