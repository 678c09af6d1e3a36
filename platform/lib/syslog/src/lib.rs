//! Converts envelopes to RFC 5424 messages with RFC 6587 framing, and back.
//!
//! ```text
//! envelope ─▶ Formatter ─▶ framed text ─▶ a drain
//! a drain's bytes ─▶ Decoder ─▶ one message each ─▶ Mapper (or parse, to_envelope) ─▶ envelope
//! ```
//!
//! - [`Formatter`] writes the bytes that the original's syslog agent writes (logging §13), because drains parse and
//!   compare them. It refuses envelopes that have no such form, and never leaves a message half written.
//! - [`decode::Decoder`] cuts a byte stream into messages, within bounds. A bad message does not affect the others.
//! - [`read::parse`] reads one message. It is strict about the structure, and lenient about the maximum lengths of RFC
//!   5424, which the original exceeds itself.
//! - [`envelope`] converts messages back to envelopes (logging §14.1), and restores from tags what the format cuts off.
//!   docs/decisions/0007 lists what the format cannot carry.
//!
//! Nothing in this crate waits, does input or output, or panics, whatever the bytes are.

mod cache;
pub mod decode;
pub mod envelope;
mod name;
pub mod read;
mod timestamp;
mod write;

pub use name::{hostname, sanitize_host_part};
pub use write::{Formatter, Framing, Unconvertible};
