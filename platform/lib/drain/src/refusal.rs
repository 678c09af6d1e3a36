//! Why a binding is not usable: the texts of the contract, which developers read in their app's log.

use thiserror::Error;

use crate::{DrainUrl, UrlError};

/// A binding that is not used. Every text shows the drain as [`DrainUrl::safe`] does.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The URL is not usable.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The drain's name has no address.
    #[error("Cannot resolve ip address for syslog drain with url {url}")]
    Unresolvable {
        /// The drain.
        url: String,
    },
    /// The name had no address a short while ago, and was not asked for again.
    #[error("Skipped resolve ip address for syslog drain with url {url} due to prior failure")]
    SkippedResolve {
        /// The drain.
        url: String,
    },
    /// The drain's addresses are in a forbidden range.
    #[error("Resolved ip address for syslog drain with url {url} is blacklisted")]
    Blocked {
        /// The drain.
        url: String,
    },
    /// The client certificate and its key are not usable, or not a pair.
    #[error("failed to load certificate for {url}")]
    Certificate {
        /// The drain.
        url: String,
    },
    /// The CA is no certificate.
    #[error("failed to load root CA for {url}")]
    RootCa {
        /// The drain.
        url: String,
    },
}

impl Refusal {
    /// The drain's name has no address.
    #[must_use]
    pub fn unresolvable(url: &DrainUrl) -> Self {
        Self::Unresolvable {
            url: url.safe().to_owned(),
        }
    }

    /// The name was not asked for again.
    #[must_use]
    pub fn skipped_resolve(url: &DrainUrl) -> Self {
        Self::SkippedResolve {
            url: url.safe().to_owned(),
        }
    }

    /// The addresses are forbidden.
    #[must_use]
    pub fn blocked(url: &DrainUrl) -> Self {
        Self::Blocked {
            url: url.safe().to_owned(),
        }
    }

    /// The drain, as it may be shown; empty if not even that is known.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::Url(error) => error.url(),
            Self::Unresolvable { url }
            | Self::SkippedResolve { url }
            | Self::Blocked { url }
            | Self::Certificate { url }
            | Self::RootCa { url } => url,
        }
    }
}
