//! What a UAA does, whatever protocol asks for it: logins, tokens, signing keys, revocations, users of other providers.
//!
//! - [`app::App`] is what all requests share. Logins ([`login`]), users of providers ([`external`]) and tokens ([`issue`]) are
//!   its methods, a file each; they return a [`refusal::Refusal`] where something is not done.
//! - [`issue`] makes tokens: RS256, signed by the present key of [`keys`]; retired keys stay published until their last
//!   token is over.
//! - [`revoked`] knows which tokens do not count any more; verifiers read the same by `GET /weir/v1/revocations`.
//! - [`hashing`] has Argon2id on threads of its own; [`admission`] is who may come in.
//! - [`seed`] makes what is there from the first start.
//!
//! Limits: a bounded line for hashing, 4 attempts at a time for one user name. No secret is in a log, an error or a URL.

pub mod admission;
pub mod app;
pub mod config;
pub mod error;
pub mod external;
pub mod hashing;
pub mod issue;
pub mod keys;
pub mod login;
pub mod metrics;
pub mod refusal;
pub mod revoked;
pub mod secret_cache;
pub mod seed;
mod unique_names;

pub use config::Config;
pub use error::Error;
