//! The crypto provider and the TLS versions of every configuration.

use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, ring};

/// The TLS versions that are offered, best first.
pub(crate) const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

static RING: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(ring::default_provider()));

/// The crypto provider ring, which every configuration shares. It is named instead of the default of the process, so
/// that the choice does not depend on the order of initialization.
pub(crate) fn ring() -> Arc<CryptoProvider> {
    Arc::clone(&RING)
}
