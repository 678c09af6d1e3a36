//! The platform's settings for all drains. The defaults are those of the contract.

use std::time::Duration;

use weir_tls::{CipherSuites, Trust};

use crate::{AddressPolicy, Resolver, Scheme};

/// The settings of connections to drains. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The time limit for resolving and connecting, and another time for the TLS handshake.
    pub dial_timeout: Duration,
    /// How long a drain may accept no bytes while some wait to be written.
    pub write_timeout: Duration,
    /// The idle time before a TCP keepalive probe, and the interval between probes.
    pub keepalive: Duration,
    /// The time limit for a POST, from its first byte to the end of the answer.
    pub http_timeout: Duration,
    /// How long an `https-batch` connection is used before it is replaced.
    pub connection_life: Duration,
    /// How long an idle HTTP connection is kept open.
    pub idle_timeout: Duration,
    /// The greatest number of connections to one HTTP drain.
    pub http_connections: usize,
    /// The greatest number of POSTs under way on one HTTP/2 connection.
    pub http2_streams: usize,
    /// The most bytes that a TCP or TLS drain is sent again after its connection broke. As many again may be under way
    /// to any drain.
    pub resend_window: usize,
    /// How long ago a shipment must have been written before it counts as received by a TCP or TLS drain, which never
    /// answers.
    pub settle_after: Duration,
    /// The kernel's send buffer for TCP and TLS drains, in bytes. At most an eighth of the window is used, because the
    /// kernel doubles the size.
    pub send_buffer: usize,
    /// The addresses at which drains may be.
    pub addresses: AddressPolicy,
    /// Resolves host names.
    pub resolver: Resolver,
    /// The CAs that are trusted for all drains, beside those of each binding.
    pub trust: Trust,
    /// The operator's choice of cipher suites for drains outside the platform. It forces TLS 1.2, as in the original.
    pub cipher_suites: Option<CipherSuites>,
    /// Whether every certificate is accepted without verification (`DRAIN_SKIP_CERT_VERIFY`).
    pub skip_verify: bool,
}

impl Settings {
    /// Returns the default settings with the given CAs.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        Self {
            dial_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(10),
            http_timeout: Duration::from_secs(20),
            connection_life: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(90),
            http_connections: 5,
            http2_streams: 8,
            resend_window: 1024 * 1024,
            settle_after: Duration::from_millis(250),
            send_buffer: 128 * 1024,
            addresses: AddressPolicy::open(),
            resolver: Resolver::system(),
            trust,
            cipher_suites: None,
            skip_verify: false,
        }
    }

    /// Returns the send buffer to request for a scheme, in bytes. HTTP drains answer, so the kernel's default serves
    /// them.
    pub(crate) fn kernel_buffer(&self, scheme: Scheme) -> Option<usize> {
        (!scheme.is_http()).then(|| self.send_buffer.min(self.resend_window / 8).max(4096))
    }
}
