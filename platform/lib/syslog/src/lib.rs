//! RFC 5424 messages and their RFC 6587 framing, to and from envelopes.
//!
//! ```text
//! envelope ─▶ Formatter ─▶ framed text ─▶ a drain
//! a drain's bytes ─▶ Decoder ─▶ one message each ─▶ Mapper (or parse, to_envelope) ─▶ envelope
//! ```
//!
//! - [`Formatter`] writes what the original's syslog agent writes, byte for byte (logging §13): drains parse and
//!   compare it. It says which envelopes have no such form, and leaves nothing half written.
//! - [`decode::Decoder`] cuts a byte stream into messages, within bounds; a bad one costs only itself.
//! - [`read::parse`] reads one message: strict in its structure, lenient in the sizes that RFC 5424 names and the
//!   original exceeds itself.
//! - [`envelope`] turns messages back into envelopes (logging §14.1) and restores what their tags still know.
//!   docs/decisions/0007 lists what the format cannot carry.
//!
//! Nothing here waits, does input or output, or panics, whatever the bytes are.

mod cache;
pub mod decode;
pub mod envelope;
mod name;
pub mod read;
mod timestamp;
mod write;

pub use name::{hostname, sanitize_host_part};
pub use write::{Formatter, Framing, Unconvertible};
