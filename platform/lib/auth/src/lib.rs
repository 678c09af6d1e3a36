//! Who is there: bearer tokens behind one interface.
//!
//! A server asks an [`Authorizer`] and gets a [`Caller`], which says what rows it may see, or a [`Denied`], which its
//! edge maps to a response once. What a caller may see is decided here and nowhere else: stores and queries filter by
//! [`Caller::may_read`]. [`StaticToken`] is the authorizer of a stack without UAA: one token in a private file. A token
//! is never shown by `Debug` or `Display`.

mod authorizer;
mod caller;
mod credentials;
mod denied;
mod static_token;

pub use authorizer::{Authorizer, Unchecked, Verdict};
pub use caller::{Caller, Scope};
pub use credentials::{bearer, credentials};
pub use denied::Denied;
pub use static_token::{StaticToken, TokenError};
