//! What the platform decides about all drains. The defaults are the contract's.

use std::time::Duration;

use weir_tls::{CipherSuites, Trust};

use crate::{AddressPolicy, Resolver, Scheme};

/// How drains are reached. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long resolving and connecting may take, and then the TLS handshake once more.
    pub dial_timeout: Duration,
    /// How long a drain may take nothing of what is written.
    pub write_timeout: Duration,
    /// TCP keepalive.
    pub keepalive: Duration,
    /// How long a POST may take from its first byte to the end of the answer.
    pub http_timeout: Duration,
    /// How long an `https-batch` connection is used.
    pub connection_life: Duration,
    /// How long an HTTP connection is kept that nothing is sent on.
    pub idle_timeout: Duration,
    /// Most connections of one HTTP drain.
    pub http_connections: usize,
    /// Most POSTs under way on one HTTP/2 connection.
    pub http2_streams: usize,
    /// Bytes that TCP and TLS drains are sent again after the connection broke, at most; once more as many may be on their
    /// way to any drain.
    pub resend_window: usize,
    /// How long ago a shipment must have been written to count as taken by a TCP or TLS drain, which never says so.
    pub settle_after: Duration,
    /// The send buffer of TCP and TLS drains, in bytes; at most an eighth of the window, as the kernel doubles it.
    pub send_buffer: usize,
    /// Where drains may be.
    pub addresses: AddressPolicy,
    /// How names become addresses.
    pub resolver: Resolver,
    /// The CAs that all drains' certificates may come from, beside the binding's own.
    pub trust: Trust,
    /// The cipher suites of TLS towards the outside, where the operator chose some; forces TLS 1.2, as the original does.
    pub cipher_suites: Option<CipherSuites>,
    /// Takes any certificate (`DRAIN_SKIP_CERT_VERIFY`).
    pub skip_verify: bool,
}

impl Settings {
    /// The defaults with these CAs.
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

    /// The send buffer that is asked for, where it matters: HTTP drains say themselves what has arrived.
    pub(crate) fn kernel_buffer(&self, scheme: Scheme) -> Option<usize> {
        (!scheme.is_http()).then(|| self.send_buffer.min(self.resend_window / 8).max(4096))
    }
}
