//! Error kinds and hints shared by every component.
//!
//! A public error answers three questions through [`Classify`]: what kind of failure is it ([`ErrorKind`], a closed set
//! with one table each to HTTP, gRPC and exit codes), is the same call worth repeating, and what can the reader do about
//! it. [`Report`] writes the answer for people, [`Report::status`] for gRPC peers; both mask nothing but
//! [`ErrorKind::Internal`] towards clients.

mod classify;
mod kind;
mod report;

pub use classify::Classify;
pub use kind::ErrorKind;
pub use report::{Report, chain};
