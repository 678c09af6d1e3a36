//! Who is there: bearer tokens behind one interface.
//!
//! ```text
//! request ─ credentials ─▶ Authorizer ─▶ Caller { name, scope, lease } ─▶ row filter, selectors, streams
//!                            │  StaticToken   the token of a local stack's operator
//!                            └─ Verifier      UAA's tokens: signature, times, issuer, audience, revocations
//!                                 ▲ keys (JWKS), revocations: fetched from the Issuer, kept while it is away
//! ```
//!
//! A server asks an [`Authorizer`] and gets a [`Caller`], which says what rows it may see, or a [`Denied`], which its
//! edge maps to a response once. What a caller may see is decided here and nowhere else: stores and queries filter by
//! [`Caller::scope`]. A stream that outlives its request waits for [`Caller::ended`] beside its data.
//!
//! [`Verifier`] checks tokens where they are shown, without a call: [`keys::Keys`] and [`revocation::Revocations`] are
//! kept up to date by two tasks. [`access::Access`] answers "may this user read this app?"; [`rights::ByRights`] asks UAA
//! and keeps its answers for a while. [`StaticToken`] is the authorizer of a stack without UAA, and beside one: whoever can read the
//! private file may read everything. [`Gate`] asks both. [`Quota`] bounds what one caller may hold at a face. A token is never shown by `Debug` or `Display`, and is not kept:
//! what was verified is found again by the token's hash.

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
pub use static_token::{StaticToken, TokenError};
pub use verifier::{Verifier, VerifierStats};
