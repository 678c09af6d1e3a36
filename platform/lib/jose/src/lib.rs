//! JSON Web Tokens (RFC 7519) and sets of keys (RFC 7517): the one place that reads, checks and signs them.
//!
//! ```text
//! token ── Jwt::parse ──▶ Jwt ── Key::verify, KeySet::verify ──▶ Jwt::claims
//! JWKS ─── KeySet::parse ─┘
//! claims ── SigningKey::sign ──▶ token             SigningKey::public ──▶ PublicKey::document (a JWK with a PEM)
//! ```
//!
//! - [`Jwt::parse`] believes nothing: a token has three parts in base64url without padding, and a header that is an object
//!   with each name once. What a header says about where keys are (`jku`, `jwk`, `x5u`, `x5c`) is not read.
//! - The algorithm is decided by the key, never by the header: what the header names has to be one that the key's type
//!   allows ([`Algorithm`] is the whole list). `none` and MACs do not exist.
//! - [`Flaw`] is every reason for which a token does not count, in this crate and in the rules of those who use it.
//!
//! Limits: the longest token is given by the reader, a key id has 255 bytes at most, a set 64 keys.

#![cfg_attr(
    test,
    allow(clippy::disallowed_methods, reason = "tests may do what programs may not")
)]

mod algorithm;
mod audience;
mod flaw;
mod jwt;
mod key;
mod key_set;
mod signing;

pub use algorithm::Algorithm;
pub use audience::Audience;
pub use flaw::Flaw;
pub use jwt::Jwt;
pub use key::Key;
pub use key_set::{KeySet, KeySetError};
pub use signing::{PublicKey, SigningKey};
