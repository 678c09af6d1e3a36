//! The reasons why a binding cannot be used. The texts are fixed by the contract; developers read them in their app's
//! log.

use thiserror::Error;

use crate::{DrainUrl, UrlError};

/// The reason why a binding is not used. Each text shows the safe form of the drain's URL ([`DrainUrl::safe`]).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The URL cannot be used.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The host name of the drain has no address.
    #[error("Cannot resolve ip address for syslog drain with url {url}")]
    Unresolvable {
        /// The safe form of the drain's URL.
        url: String,
    },
    /// The host name had no address a short time ago, and was not resolved again.
    #[error("Skipped resolve ip address for syslog drain with url {url} due to prior failure")]
    SkippedResolve {
        /// The safe form of the drain's URL.
        url: String,
    },
    /// The addresses of the drain are in a blocked range.
    #[error("Resolved ip address for syslog drain with url {url} is blacklisted")]
    Blocked {
        /// The safe form of the drain's URL.
        url: String,
    },
    /// The client certificate and its key cannot be used, or are not a pair.
    #[error("failed to load certificate for {url}")]
    Certificate {
        /// The safe form of the drain's URL.
        url: String,
    },
    /// The CA is not a certificate.
    #[error("failed to load root CA for {url}")]
    RootCa {
        /// The safe form of the drain's URL.
        url: String,
    },
}

impl Refusal {
    /// Returns the refusal of a drain whose host name has no address.
    #[must_use]
    pub fn unresolvable(url: &DrainUrl) -> Self {
        Self::Unresolvable {
            url: url.safe().to_owned(),
        }
    }

    /// Returns the refusal of a drain whose host name was not resolved again.
    #[must_use]
    pub fn skipped_resolve(url: &DrainUrl) -> Self {
        Self::SkippedResolve {
            url: url.safe().to_owned(),
        }
    }

    /// Returns the refusal of a drain whose addresses are blocked.
    #[must_use]
    pub fn blocked(url: &DrainUrl) -> Self {
        Self::Blocked {
            url: url.safe().to_owned(),
        }
    }

    /// The safe form of the drain's URL; empty if it could not be parsed.
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
