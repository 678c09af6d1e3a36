//! The reasons for which a token is refused.

use thiserror::Error;

/// Why a token does not count. The text is for logs and operators, and never repeats what the token says; a client is told
/// less, in words of its protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Flaw {
    /// The token is longer than its reader accepts.
    #[error("it is longer than any token")]
    TooLong,
    /// The token does not have three parts.
    #[error("it does not have three parts")]
    Parts,
    /// A part of the token is not base64url without padding.
    #[error("a part is not base64url")]
    Encoding,
    /// The header is not an object of the expected form, with each name once.
    #[error("its header is not readable")]
    Header,
    /// The token is signed in a way that its reader or the key does not accept.
    #[error("its algorithm is not accepted")]
    Algorithm,
    /// The token is of a type that opens nothing here.
    #[error("it is not of a type that opens anything")]
    Type,
    /// The header demands extensions (`crit`).
    #[error("it demands extensions that are not understood")]
    Critical,
    /// The token names no key where it must.
    #[error("it names no key")]
    NoKey,
    /// The key that the token names is not known.
    #[error("its key is not one of the issuer's")]
    UnknownKey,
    /// The signature is not that of the key.
    #[error("its signature is wrong")]
    Signature,
    /// The claims are not of the expected form, or do not say what they must.
    #[error("its claims are not readable")]
    Claims,
    /// The token was issued by somebody else.
    #[error("it was issued by somebody else")]
    Issuer,
    /// The token is meant for somebody else.
    #[error("it is meant for somebody else")]
    Audience,
    /// The token is a refresh token, which opens nothing.
    #[error("it is a refresh token")]
    RefreshToken,
    /// The token's time has not come.
    #[error("it is not valid yet")]
    NotYetValid,
    /// The token's time is over.
    #[error("it has expired")]
    Expired,
    /// The token was revoked.
    #[error("it was revoked")]
    Revoked,
}
