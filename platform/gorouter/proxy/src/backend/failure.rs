//! Why a backend did not answer, and what follows from it: whether the request may be tried elsewhere, whether the backend is
//! skipped for a while or loses its route, and what the client is told (contract compute-routing §13.4).

use std::fmt;
use std::io;

use http::StatusCode;

/// Why a backend did not answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No TCP connection.
    Dial {
        /// The backend.
        address: String,
        /// The system's answer.
        source: io::Error,
    },
    /// No TCP connection in time.
    DialTimeout {
        /// The backend.
        address: String,
    },
    /// The backend of a TLS port does not speak TLS.
    NotTls,
    /// The certificate is another instance's.
    WrongName {
        /// Whom the certificate is for.
        presented: String,
        /// Whom it should be for.
        wanted: String,
    },
    /// The certificate is not from a CA that the router trusts, or its time is over.
    Untrusted {
        /// What is wrong with it.
        reason: String,
    },
    /// The backend does not take the router's certificate.
    Refused {
        /// The backend's alert.
        alert: &'static str,
    },
    /// The backend ended the handshake.
    Handshake,
    /// No handshake in time.
    HandshakeTimeout,
    /// The connection ended before the answer began.
    Ended,
    /// The connection was reset.
    Reset {
        /// The backend.
        address: String,
    },
    /// What came is no answer, or the connection broke in the middle.
    Broken {
        /// What is wrong.
        reason: String,
    },
    /// No answer in time.
    Timeout,
    /// The answer has too many header lines.
    TooManyHeaders,
    /// The client left before the answer began.
    ClientLeft,
    /// No backend is left to try.
    NoEndpoints,
}

/// What was known of the request when it failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    /// Whether any byte of the request had been written.
    pub(crate) written: bool,
    /// Whether the request may be sent twice: its method or a key says so, and it has no body.
    pub(crate) idempotent: bool,
}

impl Failure {
    /// Whether the failure is of making the connection.
    const fn is_connect(&self) -> bool {
        matches!(
            self,
            Self::Dial { .. }
                | Self::DialTimeout { .. }
                | Self::NotTls
                | Self::WrongName { .. }
                | Self::Untrusted { .. }
                | Self::Refused { .. }
                | Self::Handshake
                | Self::HandshakeTimeout
        )
    }

    /// Whether the request may be tried at another backend.
    pub(crate) fn is_retriable(&self, progress: Progress) -> bool {
        match self {
            Self::Timeout | Self::ClientLeft | Self::TooManyHeaders | Self::NoEndpoints => false,
            Self::Ended if progress.idempotent => true,
            _ => self.is_connect() || !progress.written,
        }
    }

    /// Whether the backend is skipped for a while.
    pub(crate) const fn is_failable(&self) -> bool {
        self.is_connect() || matches!(self, Self::Reset { .. })
    }

    /// Whether a backend with TLS loses its route: somebody else has its address by now.
    pub(crate) const fn is_prunable(&self) -> bool {
        self.is_connect()
    }

    /// The status and the text that the client gets.
    pub(crate) const fn answer(&self) -> (u16, &'static str) {
        match self {
            Self::NotTls | Self::Handshake => (525, "525 SSL Handshake Failed"),
            Self::WrongName { .. } => (StatusCode::SERVICE_UNAVAILABLE.as_u16(), "503 Service Unavailable"),
            Self::Untrusted { .. } => (526, "526 Invalid SSL Certificate"),
            Self::Refused { .. } => (496, "496 SSL Certificate Required"),
            Self::ClientLeft => (499, "499 Request Cancelled"),
            _ => (
                StatusCode::BAD_GATEWAY.as_u16(),
                "502 Bad Gateway: Registered endpoint failed to handle the request.",
            ),
        }
    }
}

/// The text of the original, which operators search for.
impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial { address, source } => {
                write!(formatter, "dial tcp {address}: connect: {}", SystemText(source))
            }
            Self::DialTimeout { address } => write!(formatter, "dial tcp {address}: i/o timeout"),
            Self::NotTls => formatter.write_str("tls: first record does not look like a TLS handshake"),
            Self::WrongName { presented, wanted } => write!(
                formatter,
                "tls: failed to verify certificate: x509: certificate is valid for {presented}, not {wanted}"
            ),
            Self::Untrusted { reason } => write!(formatter, "tls: failed to verify certificate: x509: {reason}"),
            Self::Refused { alert } => write!(formatter, "remote error: tls: {alert}"),
            Self::Handshake => formatter.write_str("remote error: tls: handshake failure"),
            Self::HandshakeTimeout => formatter.write_str("net/http: TLS handshake timeout"),
            Self::Ended => formatter.write_str("EOF"),
            Self::Reset { address } => write!(formatter, "read tcp {address}: read: connection reset by peer"),
            Self::Broken { reason } => formatter.write_str(reason),
            Self::Timeout => formatter.write_str("context deadline exceeded"),
            Self::TooManyHeaders => formatter.write_str("Too many response headers"),
            Self::ClientLeft => formatter.write_str("context canceled"),
            Self::NoEndpoints => formatter.write_str("No endpoints available"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Dial { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The system's words for an error, without the number that Rust adds.
struct SystemText<'e>(&'e io::Error);

impl fmt::Display for SystemText<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.kind() {
            io::ErrorKind::ConnectionRefused => formatter.write_str("connection refused"),
            io::ErrorKind::ConnectionReset => formatter.write_str("connection reset by peer"),
            io::ErrorKind::HostUnreachable => formatter.write_str("no route to host"),
            io::ErrorKind::NetworkUnreachable => formatter.write_str("network is unreachable"),
            _ => self.0.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn progress(written: bool, idempotent: bool) -> Progress {
        Progress { written, idempotent }
    }

    fn connect_errors() -> [Failure; 8] {
        [
            Failure::Dial {
                address: "10.0.0.1:1".to_owned(),
                source: io::ErrorKind::ConnectionRefused.into(),
            },
            Failure::DialTimeout {
                address: "10.0.0.1:1".to_owned(),
            },
            Failure::NotTls,
            Failure::WrongName {
                presented: "a".to_owned(),
                wanted: "b".to_owned(),
            },
            Failure::Untrusted {
                reason: "certificate signed by unknown authority".to_owned(),
            },
            Failure::Refused {
                alert: "bad certificate",
            },
            Failure::Handshake,
            Failure::HandshakeTimeout,
        ]
    }

    /// A connection that was not made is tried elsewhere, skipped, and costs a TLS backend its route.
    #[test]
    fn connect_errors_have_all_three_consequences() {
        for failure in connect_errors() {
            assert!(failure.is_retriable(progress(false, false)), "{failure}");
            assert!(failure.is_failable() && failure.is_prunable(), "{failure}");
        }
    }

    /// What may have been done once is not done again, unless it may be done twice.
    #[test]
    fn a_written_request_is_not_repeated() {
        let reset = || Failure::Reset {
            address: "10.0.0.1:1".to_owned(),
        };
        let broken = || Failure::Broken { reason: "x".to_owned() };
        for failure in [Failure::Ended, reset(), broken()] {
            assert!(failure.is_retriable(progress(false, false)), "{failure}");
            assert!(!failure.is_retriable(progress(true, false)), "{failure}");
            assert!(!failure.is_prunable(), "{failure}");
        }
        assert!(Failure::Ended.is_retriable(progress(true, true)));
        assert!(!reset().is_retriable(progress(true, true)));
        assert!(reset().is_failable());
        assert!(!Failure::Ended.is_failable());
        assert!(!Failure::ClientLeft.is_retriable(progress(false, true)));
        assert!(!Failure::Timeout.is_retriable(progress(false, true)));
    }

    /// The statuses of the contract, and the original's words.
    #[test]
    fn clients_are_told() {
        let told = connect_errors().map(|failure| failure.answer().0);
        assert_eq!(told, [502, 502, 525, 503, 526, 496, 525, 502]);
        assert_eq!(Failure::ClientLeft.answer().0, 499);
        assert_eq!(
            connect_errors()[0].to_string(),
            "dial tcp 10.0.0.1:1: connect: connection refused"
        );
    }
}
