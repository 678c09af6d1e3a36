//! Error kinds and hints shared by every component.
//!
//! A public error answers three questions through [`Classify`]: what kind of failure is it ([`ErrorKind`], a closed set
//! with one table each to HTTP and to exit codes; the one to gRPC is in `weir-net`), is the same call worth repeating, and
//! what can the reader do about it. [`chain`](chain()) writes an error with its causes, and [`nearest`](nearest()) finds the
//! word that a hint asks about.

mod chain;
mod classify;
mod kind;
mod nearest;

pub use chain::chain;
pub use classify::Classify;
pub use kind::ErrorKind;
pub use nearest::nearest;
