//! Authorization: bearer tokens are checked behind one interface.
//!
//! ```text
//! request ─ credentials ─▶ Authorizer ─▶ Caller { name, scope, lease } ─▶ row filter, selectors, streams
//!                            │  StaticToken   the token of a local stack's operator
//!                            └─ Verifier      UAA's tokens: signature, times, issuer, audience, revocations
//!                                 ▲ keys (JWKS), revocations: fetched from the Issuer, kept while it is unreachable
//! ```
//!
//! A server asks an [`Authorizer`]. It gets a [`Caller`], which says which sources the caller may read, or a
//! [`Denied`], which the server maps to a response in one place. Rights are decided in this crate and nowhere else:
//! stores and queries filter by [`Caller::scope`]. A stream that outlives its request waits for [`Caller::ended`] as
//! well as for its data.
//!
//! - [`Verifier`] checks UAA's tokens without a call to UAA. Two tasks keep its [`keys::Keys`] and
//!   [`revocation::Revocations`] up to date.
//! - [`access::Access`] answers which sources a user may read. [`rights::ByRights`] asks UAA for that and keeps the
//!   answers for a short time.
//! - [`StaticToken`] is the authorizer of the operator of one machine: whoever can read its private file may read
//!   everything.
//! - [`Gate`] accepts the tokens of both.
//! - [`Quota`] bounds how much one caller may hold at a server.
//!
//! A token is never shown by `Debug` or `Display`, and is not kept. A verified token is found again by its hash.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "tests spawn, wait and ask for the time as they like"
    )
)]

pub mod access;
mod authorizer;
mod caller;
pub mod claims;
mod config;
mod credentials;
mod denied;
mod gate;
mod https;
pub mod issuer;
mod jwt;
pub mod keys;
mod lease;
mod once;
mod quota;
pub mod revocation;
pub mod rights;
mod rules;
mod start;
mod static_token;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod verifier;

pub use authorizer::{Authorizer, Unchecked, Verdict};
pub use caller::{Caller, Ended, Scope};
pub use config::{RawUaa, UaaConfig};
pub use credentials::{bearer, credentials, from_cookie, from_header};
pub use denied::Denied;
pub use gate::{Gate, OpenError};
pub use https::{HttpsIssuer, client_secret};
pub use once::{OnceError, check_once};
pub use quota::{Quota, Share};
pub use start::StartError;
pub use static_token::{StaticToken, TokenError};
pub use verifier::{Verifier, VerifierStats};
