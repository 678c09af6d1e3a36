//! Why a caller is refused.

use thiserror::Error;
use weir_error::{Classify, ErrorKind};

/// Why a caller is refused. The texts never repeat what the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Denied {
    /// The request has no token.
    #[error("authorization not provided")]
    Missing,
    /// The request has credentials that are no valid token for this server.
    #[error("invalid authorization")]
    Invalid,
    /// The token has expired.
    #[error("authorization has expired")]
    Expired,
    /// The token, its user or its client was revoked.
    #[error("authorization was revoked")]
    Revoked,
    /// The token is valid, but does not allow the request.
    #[error("authorization does not allow this")]
    Forbidden,
    /// The source does not exist, or this caller may not know that it exists.
    #[error("source not found")]
    NotFound,
    /// The token cannot be checked now, because UAA is unreachable and its keys or revocations are not known.
    #[error("authorization cannot be checked now")]
    Unavailable,
}

impl Classify for Denied {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing | Self::Invalid | Self::Expired | Self::Revoked => ErrorKind::Unauthenticated,
            Self::Forbidden => ErrorKind::Forbidden,
            Self::NotFound => ErrorKind::NotFound,
            Self::Unavailable => ErrorKind::Unavailable,
        }
    }

    fn retryable(&self) -> bool {
        *self == Self::Unavailable
    }

    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Missing => "send `Authorization: bearer TOKEN`",
                Self::Invalid => "use a current token of this stack; `weir token` prints one",
                Self::Expired => "log in again, or refresh the token",
                Self::Revoked => "log in again",
                Self::Forbidden => "ask an operator for the scope, or name a source you may read",
                Self::Unavailable => "try again; if it lasts, see whether UAA runs",
                Self::NotFound => return None,
            }
            .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The HTTP status that servers answer for each refusal.
    #[test]
    fn kinds_map_to_statuses() {
        let statuses = [
            Denied::Missing,
            Denied::Invalid,
            Denied::Expired,
            Denied::Revoked,
            Denied::Forbidden,
            Denied::NotFound,
            Denied::Unavailable,
        ]
        .map(|denied| denied.kind().http_status().as_u16());
        assert_eq!(statuses, [401, 401, 401, 401, 403, 404, 503]);
    }
}
