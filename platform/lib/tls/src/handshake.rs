//! Why a handshake failed, in words an operator can act on.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::{AlertDescription, CertificateError, PeerIncompatible};
use thiserror::Error;
use weir_error::{Classify, ErrorKind};

use crate::ChainError;
use crate::status::date;

/// A handshake, or the first read after it, that failed.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The peer's certificate comes from a CA that we do not trust.
    #[error("certificate of `{peer}` comes from an unknown CA")]
    UnknownIssuer {
        /// Whom we talked to.
        peer: String,
    },
    /// The peer is somebody else.
    #[error("certificate of `{peer}` is for another name: {}", if presented.is_empty() { "none".to_owned() } else { presented.join(", ") })]
    WrongName {
        /// Whom we wanted to talk to.
        peer: String,
        /// Whom the certificate is for.
        presented: Vec<String>,
    },
    /// The peer's certificate is not valid any more.
    #[error("certificate of `{peer}` expired{}", since.map(|since| format!(" on {}", date(since))).unwrap_or_default())]
    Expired {
        /// Whom we talked to.
        peer: String,
        /// Since when, if it is known.
        since: Option<SystemTime>,
    },
    /// One of the peer's certificates is not acceptable ([`OutboundTls`](crate::OutboundTls) knows which).
    #[error("certificates of `{peer}` are not acceptable")]
    Chain {
        /// Whom we talked to.
        peer: String,
        /// Which one, and why.
        source: ChainError,
    },
    /// The peer demands a certificate and got none.
    #[error("`{peer}` requires a client certificate")]
    CertificateRequired {
        /// Whom we talked to.
        peer: String,
    },
    /// The peer does not accept our certificate.
    #[error("`{peer}` refuses our certificate: {reason}")]
    Refused {
        /// Whom we talked to.
        peer: String,
        /// Its alert.
        reason: String,
    },
    /// The other side does not speak TLS.
    #[error("`{peer}` does not speak tls")]
    NotTls {
        /// Whom we talked to.
        peer: String,
    },
    /// Anything else that TLS can object to.
    #[error("tls with `{peer}` failed")]
    Protocol {
        /// Whom we talked to.
        peer: String,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The connection broke.
    #[error("connection to `{peer}` broke during the tls handshake")]
    Connection {
        /// Whom we talked to.
        peer: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// Finds out why a handshake with `peer` (a server's name, a client's address) failed.
#[must_use]
pub fn explain(peer: &str, error: io::Error) -> HandshakeError {
    let peer = peer.to_owned();
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(inner) => explain_tls(peer, inner.clone()),
        None => HandshakeError::Connection { peer, source: error },
    }
}

/// As [`explain`], for an error that another library wrapped; `None` if TLS has nothing to do with it.
#[must_use]
pub fn explain_wrapped(peer: &str, error: &(dyn std::error::Error + 'static)) -> Option<HandshakeError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
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

    /// All of them may pass: files are reloaded, peers replaced.
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
            Self::Expired { .. } => "replace the certificate there; it is reloaded without restart".to_owned(),
            Self::CertificateRequired { .. } => "give the client a certificate and key of the server's CA".to_owned(),
            Self::Refused { .. } => "use a valid client certificate of the server's CA".to_owned(),
            Self::NotTls { .. } => "check the address: a plain-text port answers there".to_owned(),
            Self::Protocol { .. } | Self::Connection { .. } => return None,
        })
    }
}
