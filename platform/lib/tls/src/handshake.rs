//! Explains why a TLS handshake failed, in words that tell an operator what to do.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use thiserror::Error;
use weir_error::{Classify, ErrorKind};

use crate::ChainError;
use crate::status::date;

/// Why a handshake, or the first read after it, failed.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The CA of the peer's certificate is not trusted.
    #[error("certificate of `{peer}` comes from an unknown CA")]
    UnknownIssuer {
        /// The name or address of the peer.
        peer: String,
    },
    /// The peer's certificate does not carry the expected name.
    #[error("certificate of `{peer}` is for another name: {}", if presented.is_empty() { "none".to_owned() } else { presented.join(", ") })]
    WrongName {
        /// The expected name of the peer.
        peer: String,
        /// The names that the certificate carries.
        presented: Vec<String>,
    },
    /// The peer's certificate has expired.
    #[error("certificate of `{peer}` expired{}", since.map(|since| format!(" on {}", date(since))).unwrap_or_default())]
    Expired {
        /// The name or address of the peer.
        peer: String,
        /// When the certificate expired, if that is known.
        since: Option<SystemTime>,
    },
    /// One of the peer's certificates is not acceptable. Only [`OutboundTls`](crate::OutboundTls) finds out which one.
    #[error("certificates of `{peer}` are not acceptable")]
    Chain {
        /// The name or address of the peer.
        peer: String,
        /// Which certificate it is, and why it is not acceptable.
        source: ChainError,
    },
    /// The peer requires a client certificate, and none was shown.
    #[error("`{peer}` requires a client certificate")]
    CertificateRequired {
        /// The name or address of the peer.
        peer: String,
    },
    /// The peer does not accept the client certificate that was shown.
    #[error("`{peer}` refuses our certificate: {reason}")]
    Refused {
        /// The name or address of the peer.
        peer: String,
        /// The peer's alert, in words.
        reason: String,
    },
    /// The peer does not speak TLS.
    #[error("`{peer}` does not speak tls")]
    NotTls {
        /// The name or address of the peer.
        peer: String,
    },
    /// TLS failed for another reason.
    #[error("tls with `{peer}` failed")]
    Protocol {
        /// The name or address of the peer.
        peer: String,
        /// The error of rustls.
        source: rustls::Error,
    },
    /// The connection broke during the handshake.
    #[error("connection to `{peer}` broke during the tls handshake")]
    Connection {
        /// The name or address of the peer.
        peer: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// Explains why a handshake failed. `peer` is the name of a server, or the address of a client.
#[must_use]
pub fn explain(peer: &str, error: io::Error) -> HandshakeError {
    let peer = peer.to_owned();
    // tokio-rustls returns the errors of rustls inside of I/O errors.
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => explain_tls(peer, inner.clone()),
        None => HandshakeError::Connection { peer, source: error },
    }
}

/// Explains why a handshake failed from an error that another library has wrapped; see [`explain`]. Returns `None` if
/// no cause of the error is one of TLS.
#[must_use]
pub fn explain_wrapped(peer: &str, error: &(dyn std::error::Error + 'static)) -> Option<HandshakeError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        // The `source` of an I/O error skips the error that it contains, so that one is looked at directly.
        let io = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let tls = match io {
            Some(inner) => inner.downcast_ref::<rustls::Error>(),
            None => error.downcast_ref::<rustls::Error>(),
        };
        if let Some(tls) = tls {
            return Some(explain_tls(peer.to_owned(), tls.clone()));
        }
        cause = error.source();
    }
    None
}

fn explain_tls(peer: String, error: rustls::Error) -> HandshakeError {
    use AlertDescription as Alert;
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            match other.0.downcast_ref::<ChainError>() {
                Some(chain) => HandshakeError::Chain {
                    peer,
                    source: chain.clone(),
                },
                None => HandshakeError::Protocol {
                    peer,
                    source: rustls::Error::InvalidCertificate(CertificateError::Other(other)),
                },
            }
        }
        // A bad signature means that the issuer has the name of a trusted CA and another key.
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            HandshakeError::UnknownIssuer { peer }
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) => {
            HandshakeError::WrongName { peer, presented }
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName) => HandshakeError::WrongName {
            peer,
            presented: Vec::new(),
        },
        rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => {
            let since = UNIX_EPOCH + Duration::from_secs(not_after.as_secs());
            HandshakeError::Expired {
                peer,
                since: Some(since),
            }
        }
        rustls::Error::InvalidCertificate(CertificateError::Expired) => HandshakeError::Expired { peer, since: None },
        rustls::Error::NoCertificatesPresented
        | rustls::Error::AlertReceived(Alert::CertificateRequired)
        | rustls::Error::PeerIncompatible(PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon) => {
            HandshakeError::CertificateRequired { peer }
        }
        rustls::Error::AlertReceived(
            alert @ (Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate
            | Alert::AccessDenied
            | Alert::DecryptError),
        ) => HandshakeError::Refused {
            peer,
            reason: alert_text(alert).to_owned(),
        },
        rustls::Error::InvalidMessage(_) => HandshakeError::NotTls { peer },
        source => HandshakeError::Protocol { peer, source },
    }
}

/// An alert about a certificate, in words.
fn alert_text(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA => "it comes from a CA unknown there",
        AlertDescription::CertificateExpired => "it has expired",
        AlertDescription::CertificateRevoked => "it was revoked",
        AlertDescription::DecryptError => "its signature does not verify there",
        _ => "it is not acceptable there",
    }
}

impl Classify for HandshakeError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Connection { .. } => ErrorKind::Unavailable,
            Self::NotTls { .. } | Self::Protocol { .. } => ErrorKind::InvalidInput,
            Self::UnknownIssuer { .. }
            | Self::Chain { .. }
            | Self::WrongName { .. }
            | Self::Expired { .. }
            | Self::CertificateRequired { .. }
            | Self::Refused { .. } => ErrorKind::Unauthenticated,
        }
    }

    /// A later attempt can succeed in all cases, because certificate files are reloaded and peers are replaced.
    fn retryable(&self) -> bool {
        true
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Chain { source, .. } => source.hint().to_owned(),
            Self::UnknownIssuer { .. } => "both sides must use certificates of the same CA".to_owned(),
            Self::WrongName { peer, .. } => {
                format!("check the address, or issue the server a certificate with the name `{peer}`")
            }
            Self::Expired { .. } => "replace the peer's certificate; it is reloaded without a restart".to_owned(),
            Self::CertificateRequired { .. } => "give the client a certificate and key of the server's CA".to_owned(),
            Self::Refused { .. } => "use a valid client certificate of the server's CA".to_owned(),
            Self::NotTls { .. } => "check the address: a plain-text port answers there".to_owned(),
            Self::Protocol { .. } | Self::Connection { .. } => return None,
        })
    }
}
