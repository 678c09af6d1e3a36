//! The cipher suites that are offered to destinations.

use std::sync::{Arc, LazyLock};

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use thiserror::Error;

use crate::provider;

/// A selection of TLS 1.2 cipher suites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CipherSuites(Vec<CipherSuite>);

impl CipherSuites {
    /// Reads a list of names that are separated by colons, in the spelling of OpenSSL or of the RFCs. Suites that are
    /// not supported are left out, as long as one is left.
    ///
    /// # Errors
    /// The list, when none of its suites is supported.
    pub fn parse(list: &str) -> Result<Self, UnknownSuites> {
        let known = |name: &str| {
            let name = name.trim();
            SUITES
                .iter()
                .find(|(_, names)| names.contains(&name))
                .map(|(suite, _)| *suite)
        };
        let suites: Vec<CipherSuite> = list.split(':').filter_map(known).collect();
        if suites.is_empty() {
            return Err(UnknownSuites(list.to_owned()));
        }
        Ok(Self(suites))
    }
}

/// The error of a list without a supported cipher suite.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("cipher suites `{0}` are all unknown or not secure")]
pub struct UnknownSuites(String);

/// The supported suites of TLS 1.2, each with its names in OpenSSL and in the RFCs.
const SUITES: [(CipherSuite, [&str; 2]); 6] = [
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        [
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        ],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        [
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        ],
    ),
    (
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        [
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        ],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ["ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        ["ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
    ),
    (
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        [
            "ECDHE-RSA-CHACHA20-POLY1305",
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        ],
    ),
];

/// The cipher suites that the original's internal services accept.
pub(super) static INTERNAL: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    narrowed(|suite| {
        matches!(
            suite,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
        )
    })
});

/// The provider with all suites of TLS 1.3, and with those suites of TLS 1.2 for which `keep` is true.
pub(super) fn narrowed(keep: impl Fn(CipherSuite) -> bool) -> Arc<CryptoProvider> {
    let mut provider = (*provider::ring()).clone();
    provider
        .cipher_suites
        .retain(|suite| suite.tls13().is_some() || keep(suite.suite()));
    Arc::new(provider)
}

impl CipherSuites {
    #[cfg(test)]
    pub(super) fn of(suites: Vec<CipherSuite>) -> Self {
        Self(suites)
    }

    /// The provider with this selection of TLS 1.2 suites.
    pub(super) fn provider(&self) -> Arc<CryptoProvider> {
        narrowed(|suite| self.0.contains(&suite))
    }
}
