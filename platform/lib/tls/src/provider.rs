//! The crypto provider, named instead of assumed.

use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, ring};

/// What we speak, best first.
pub(crate) const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

static RING: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));

/// ring, shared by every configuration.
pub(crate) fn ring() -> Arc<CryptoProvider> {
    Arc::clone(&RING)
}
