//! Integration tests: parts of the stack together, over their real protocols, as separate processes.
//!
//! - `tests/dopplers.rs`: several dopplers behind one agent and in front of every consumer.
//! - `tests/operations.rs`: stopping under load, renewed certificates, a stack that observes itself.
