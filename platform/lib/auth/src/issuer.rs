//! The interface of a token issuer, as a verifier of tokens needs it.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};

use crate::keys::Keys;
use crate::revocation::Page;
use crate::rights::Bearer;

/// An answer of the issuer.
pub type Fetched<'a, T> = Pin<Box<dyn Future<Output = Result<T, IssuerError>> + Send + 'a>>;

/// A token issuer: its keys, its revocations, and the rights of one bearer. Each call is one attempt with a deadline of
/// its own. The verifier decides when to ask.
pub trait Issuer: Debug + Send + Sync {
    /// The keys with which the issuer signs now, and those of tokens that are still valid.
    fn keys(&self) -> Fetched<'_, Keys>;

    /// The revocations after number `since`. If there are none, an issuer that is able to waits up to `wait` for some
    /// before it answers, so that a revocation is known at once.
    fn revocations(&self, since: u64, wait: Duration) -> Fetched<'_, Page>;

    /// The ids of the sources that `bearer` may read now.
    fn rights<'a>(&'a self, bearer: &'a Bearer) -> Fetched<'a, Vec<String>>;
}

/// Why the issuer gave no usable answer. The text is for operators and contains no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IssuerError {
    /// The issuer could not be reached, or closed the connection.
    #[error("`{url}`: {reason}")]
    Unreachable {
        /// The URL of the request.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The issuer does not have this URL. An original UAA has no feed of revocations.
    #[error("`{url}` does not exist")]
    Missing {
        /// The URL of the request.
        url: String,
    },
    /// The issuer's answer is not usable.
    #[error("`{url}`: {reason}")]
    Answer {
        /// The URL of the request.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

impl Classify for IssuerError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable { .. } => ErrorKind::Unavailable,
            Self::Missing { .. } => ErrorKind::NotFound,
            Self::Answer { .. } => ErrorKind::Internal,
        }
    }

    fn retryable(&self) -> bool {
        true
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some("check `uaa.url` and `uaa.ca`, and whether UAA runs".to_owned()),
            Self::Missing { .. } => {
                Some("revocations need Weir's UAA; with another UAA, tokens end when they expire".to_owned())
            }
            Self::Answer { .. } => Some("check that `uaa.url` is the address of a UAA".to_owned()),
        }
    }
}
