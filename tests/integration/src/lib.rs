//! Integration tests: parts of the stack together, over their real protocols, as separate processes.
//!
//! - `tests/access.rs`: who may read what: tenants, tokens, and docs/security.md port by port.
//! - `tests/dopplers.rs`: several dopplers behind one agent and in front of every consumer.
//! - `tests/operations.rs`: stopping under load, renewed certificates, a stack that observes itself.
