//! The syslog agent: each app's envelopes to its drains.
mod spill;
