//! Integration tests: several components together, over their real protocols, as separate processes.
//!
//! - `tests/access.rs`: who may read what: tenants, tokens, and each port of docs/security.md.
//! - `tests/dopplers.rs`: two dopplers between one agent and all consumers.
//! - `tests/drains.rs`: drains to rsyslog, syslog-ng, collectors with faults, and the log cache.
//! - `tests/operations.rs`: a stop under load, renewed certificates, and a stack's own logs and metrics.
//! - `tests/overload.rs`: too many subscribers, a stopped consumer, and a disk that cannot be written.
