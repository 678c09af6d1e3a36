//! The other end of syslog drains: receivers, sources of bindings, and a tally of what arrived.
//!
//! - [`DrainReceiver`] receives numbered lines over TCP or TLS. It can be stopped, started, slow, or never read.
//! - [`Collector`] receives lines over HTTPS (HTTP/1.1 or HTTP/2). It can be slow, busy, broken or stopped.
//! - [`Daemon`] runs rsyslog or syslog-ng, which write down what they parsed.
//! - [`Controller`] serves the cloud controller's feed of bindings, and the interface of a binding cache.
//! - [`DrainAgent`] runs the syslog agent as a process, with bindings from a [`Controller`].
//! - [`Pki`] issues certificates that are valid, of another CA, or expired.
//! - [`Tally`] counts the lines of one app: arrived once, repeated, late, or missing.
//!
//! These modules share no code with the code under test. They parse frames, fields and bodies by themselves.

mod agent;
mod collector;
mod controller;
mod daemon;
mod frames;
mod lines;
mod pki;
mod ports;
mod receiver;

pub use agent::{AgentBuilder, DrainAgent, DrainStatus};
pub use collector::{Collector, Fault, Request};
pub use controller::{Controller, DrainItem};
pub use daemon::{Daemon, Parsed, Product};
pub use frames::{Deframer, Fields, fields};
pub use lines::{Lines, Tally};
pub use pki::{Certificate, Pki};
pub use ports::steady_port;
pub use receiver::{Behaviour, DrainReceiver};

#[cfg(test)]
mod tests;
