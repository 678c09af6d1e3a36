//! The domain logic of a UAA, independent of HTTP: logins, tokens, signing keys, revocations, users of external providers.
//!
//! - [`app::App`] is the state that all requests share. Logins ([`login`]), users of providers ([`external`]), unique names and
//!   tokens ([`issue`]) are its methods, each in its own file. They return a [`refusal::Refusal`] if a request is refused.
//! - [`issue`] creates tokens, signed with RS256 by the present key of [`keys`]. Retired keys stay published until the last of
//!   their tokens has ended.
//! - [`revoked`] keeps all revocations in memory. Verifiers read them with `GET /weir/v1/revocations`.
//! - [`hashing`] runs Argon2id on its own threads; [`admission`] limits the requests that wait for it.
//! - [`seed`] creates the groups, clients and administrator of a new installation.
//!
//! Limits: a bounded queue for hashing, and 4 attempts at a time for one user name. Logs, errors and URLs contain no secrets.

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
