//! The reasons for which the UAA refuses a request.
//!
//! Refusals name the rule of the domain (logins, users, groups, passwords, tokens) and no protocol. `http::error` of the server
//! maps each to an HTTP answer.

use thiserror::Error;
use weir_db::DbError;
use weir_platform_uaa_store::User;

use crate::hashing::Busy;

/// The reason for which a request is refused. The text is for logs; clients are told less.
#[derive(Debug, Error)]
pub enum Refusal {
    /// The user's name or password is wrong. A client is not told which.
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
    /// The provider gave one user name to two of its users.
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
    /// The password violates the policy. The text is a sentence for the user.
    #[error("the password violates the policy: {0}")]
    Policy(String),
    /// The new password is the present one.
    #[error("the new password is the present one")]
    SamePassword,
    /// The access token would have so many scopes that servers refuse it for its length.
    #[error("the token would be longer than servers accept")]
    TokenTooLong,
    /// The user or the client was changed or revoked while the request ran. The caller may try again.
    #[error("the user or the client was changed during the request")]
    ChangedMeanwhile,
    /// The queue for hashing is full.
    #[error("the queue for hashing is full")]
    Busy(Busy),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DbError),
}

impl From<Busy> for Refusal {
    fn from(busy: Busy) -> Self {
        Self::Busy(busy)
    }
}
