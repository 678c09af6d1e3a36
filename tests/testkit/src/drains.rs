//! The far side of syslog drains: who receives, who says which drains there are, and what arrived.
//!
//! - [`DrainReceiver`] takes numbered lines over TCP or TLS, and can be stopped, started, slow, deaf or hostile.
//! - [`Collector`] takes them over HTTPS, HTTP/1.1 or HTTP/2, and can be slow, busy, broken or gone.
//! - [`Daemon`] is rsyslog or syslog-ng, writing down what it parsed.
//! - [`Controller`] is a cloud controller's feed of bindings, and a binding cache.
//! - [`DrainAgent`] is the syslog agent itself, as a process with its bindings from a [`Controller`].
//! - [`Pki`] makes certificates that are right, of somebody else, or out of date.
//! - [`Tally`] is what arrived of one app: in order, once, twice, too late, or not.
//!
//! Nothing here shares code with what it tests: frames, fields and bodies are read by a few lines of its own.

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
