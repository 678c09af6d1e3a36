//! The reasons for which the UAA refuses a request.
//!
//! This is what the domain says: logins, users of providers, passwords, tokens. It knows no protocol; `http::error` makes
//! an answer of it, in one place.

use thiserror::Error;
use weir_db::DbError;
use weir_platform_uaa_store::User;

use crate::hashing::Busy;

/// Why something is not done. The text is for logs; a client is told less.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The user's name or password is wrong; which of them is nobody's business.
    #[error("the name or the password is wrong")]
    BadCredentials,
    /// The user name is locked after too many failed attempts.
    #[error("the user name is locked")]
    Locked,
    /// Too many attempts for one user name are under way.
    #[error("too many attempts for the user name are under way")]
    TooManyAttempts,
    /// The user may not log in.
    #[error("the user is not active")]
    Inactive,
    /// The name that a provider gives its user is already that of another one of its users.
    #[error("the user name belongs to another user of the provider")]
    NameTaken,
    /// Another user of the origin has the user name.
    #[error("user name `{user_name}` is in use")]
    UserNameInUse {
        /// The user name that was asked for.
        user_name: String,
        /// The user who has it, if that user was not removed meanwhile.
        holder: Option<Box<User>>,
    },
    /// Another group has the name.
    #[error("group name `{display_name}` is in use")]
    GroupNameInUse {
        /// The name that was asked for.
        display_name: String,
    },
    /// The password is against the policy; the text says how, in a sentence for people.
    #[error("the password is against the policy: {0}")]
    Policy(String),
    /// The new password is the old one.
    #[error("the new password is the old one")]
    SamePassword,
    /// An access token with so many scopes would be longer than its readers take.
    #[error("the token would be longer than its readers take")]
    TokenTooLong,
    /// What the request rests on was changed or ended while it was under way. Asked again it learns what is true now.
    #[error("what the request rests on was changed meanwhile")]
    Overtaken,
    /// There is no room in the line for hashing.
    #[error("too many hashes are waited for")]
    Busy(Busy),
    /// The database does not do what it should.
    #[error(transparent)]
    Database(#[from] DbError),
}

impl From<Busy> for Refusal {
    fn from(busy: Busy) -> Self {
        Self::Busy(busy)
    }
}
