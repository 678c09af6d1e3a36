//! Who issues the tokens, as those see it who check them.

use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};

use crate::keys::Keys;
use crate::revocation::Page;
use crate::rights::Bearer;

/// An answer of the issuer, when it is there.
pub type Fetched<'a, T> = Pin<Box<dyn Future<Output = Result<T, IssuerError>> + Send + 'a>>;

/// The issuer's two feeds, and what it says of one bearer. Each call is one attempt with a deadline of its own; the verifier decides when to ask.
pub trait Issuer: Debug + Send + Sync {
    /// The keys with which it signs now, and those whose tokens are still valid.
    fn keys(&self) -> Fetched<'_, Keys>;

    /// What was revoked since. An issuer that can do so takes up to `wait` for an answer without news, so that news are
    /// known at once.
    fn revocations(&self, since: u64, wait: Duration) -> Fetched<'_, Page>;

    /// The ids of the sources that somebody may read now.
    fn rights<'a>(&'a self, bearer: &'a Bearer) -> Fetched<'a, Vec<String>>;
}

/// The issuer did not answer as it should. The text is for operators and has no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IssuerError {
    /// It could not be reached, or broke off.
    #[error("`{url}`: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened.
        reason: String,
    },
    /// It has no such feed: an original UAA has no revocations to read.
    #[error("`{url}`: there is no such feed")]
    Missing {
        /// What was asked for.
        url: String,
    },
    /// Its answer is of no use.
    #[error("`{url}`: {reason}")]
    Answer {
        /// What was asked for.
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
            Self::Missing { .. } => Some("tokens then end at their expiry; revocations need Weir's own UAA".to_owned()),
            Self::Answer { .. } => Some("check that `uaa.url` is a UAA".to_owned()),
        }
    }
}
