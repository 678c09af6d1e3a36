//! Why somebody is not let in.

use thiserror::Error;
use weir_error::{Classify, ErrorKind};

/// A refusal. The texts never repeat what the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Denied {
    /// There was no token.
    #[error("authorization not provided")]
    Missing,
    /// There was a token, and it is not valid here.
    #[error("invalid authorization")]
    Invalid,
    /// The token is valid and does not allow this.
    #[error("authorization does not allow this")]
    Forbidden,
    /// There is no such source, as far as this caller may know.
    #[error("source not found")]
    NotFound,
}

impl Classify for Denied {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing | Self::Invalid => ErrorKind::Unauthenticated,
            Self::Forbidden => ErrorKind::Forbidden,
            Self::NotFound => ErrorKind::NotFound,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(
            match self {
                Self::Missing => "send `Authorization: bearer TOKEN`",
                Self::Invalid => "use the current token; `weir token` prints the one of a local stack",
                Self::Forbidden => "ask an operator for the scope, or name a source you may read",
                Self::NotFound => return None,
            }
            .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What edges answer: 401, 401, 403, 404.
    #[test]
    fn kinds_map_to_statuses() {
        let statuses = [Denied::Missing, Denied::Invalid, Denied::Forbidden, Denied::NotFound]
            .map(|denied| denied.kind().http_status().as_u16());
        assert_eq!(statuses, [401, 401, 403, 404]);
    }
}
