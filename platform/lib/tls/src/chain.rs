//! Explains which certificate of a server's chain is not acceptable, and why. The text has to be sufficient, because
//! the person who can replace the certificate often sees nothing else.

use std::time::SystemTime;

use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::CertificateStatus;
use crate::status::date;

/// The number of characters that are shown of a text which the peer chose.
const LONGEST_NAME: usize = 120;

/// The number of a certificate's names that are shown.
const MOST_NAMES: usize = 5;

/// What is wrong with a server's certificates, with the subject of the certificate that fails.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChainError {
    /// The certificate has expired.
    #[error("{role} `{subject}` expired on {}", date(*since))]
    Expired {
        /// The subject of the certificate.
        subject: String,
        /// The role of the certificate: `certificate` or `intermediate certificate`.
        role: &'static str,
        /// When it expired.
        since: SystemTime,
    },
    /// The certificate is not valid yet.
    #[error("{role} `{subject}` is not valid before {}", date(*from))]
    NotYetValid {
        /// The subject of the certificate.
        subject: String,
        /// The role of the certificate: `certificate` or `intermediate certificate`.
        role: &'static str,
        /// When it becomes valid.
        from: SystemTime,
    },
    /// The certificate is its own issuer and is not trusted.
    #[error("{role} `{subject}` is self-signed and not among the trusted CAs")]
    SelfSigned {
        /// The subject of the certificate.
        subject: String,
        /// The role of the certificate: `certificate` or `intermediate certificate`.
        role: &'static str,
    },
    /// The issuer of the certificate is not trusted.
    #[error("{role} `{subject}` was issued by `{issuer}`, which is not a trusted CA")]
    UntrustedIssuer {
        /// The subject of the certificate.
        subject: String,
        /// The role of the certificate: `certificate` or `intermediate certificate`.
        role: &'static str,
        /// The name of the issuer.
        issuer: String,
    },
    /// A CA with the issuer's name is trusted, but has another key.
    #[error("{role} `{subject}` names `{issuer}` as its issuer, but the trusted CA of that name did not sign it")]
    OtherKey {
        /// The subject of the certificate.
        subject: String,
        /// The role of the certificate: `certificate` or `intermediate certificate`.
        role: &'static str,
        /// The name of the issuer.
        issuer: String,
    },
    /// The CA that was given for this server has expired.
    #[error("CA certificate `{subject}` given for it expired on {}", date(*since))]
    AuthorityExpired {
        /// The subject of the CA.
        subject: String,
        /// When it expired.
        since: SystemTime,
    },
    /// The certificate does not carry the expected name.
    #[error("certificate `{subject}` is for {}, not for `{wanted}`", listed(names))]
    WrongName {
        /// The subject of the certificate.
        subject: String,
        /// The names that the certificate carries.
        names: Vec<String>,
        /// The name that was expected.
        wanted: String,
    },
    /// The certificate is not acceptable for another reason.
    #[error("{role} `{subject}` is not acceptable: {reason}")]
    Other {
        /// The subject of the certificate.
        subject: String,
        /// The role of the certificate: `certificate` or `intermediate certificate`.
        role: &'static str,
        /// The error text of rustls.
        reason: String,
    },
}

impl ChainError {
    /// What the operator of the server, or of its CA, can do.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "renew the certificate at the server",
            Self::NotYetValid { .. } => "check the clocks here and at the server",
            Self::SelfSigned { .. } => "give the certificate itself as CA, or use one of a CA",
            Self::UntrustedIssuer { .. } => {
                "give the CA that issued it, or let the server send its intermediate certificates"
            }
            Self::OtherKey { .. } | Self::AuthorityExpired { .. } => "give the CA's current certificate",
            Self::WrongName { .. } => "use a name that the certificate is for, or have it issued for this one",
            Self::Other { .. } => "have a new certificate issued",
        }
    }

    /// Explains why `chain`, which begins with the server's own certificate, was refused with `error`. `expired` are
    /// the CAs that were given for this server and are not used because they have expired.
    pub(crate) fn explain(
        error: &CertificateError,
        chain: &[&CertificateDer<'_>],
        wanted: &ServerName<'_>,
        expired: &[CertificateStatus],
    ) -> Self {
        let links: Vec<Link> = chain.iter().filter_map(|certificate| Link::read(certificate)).collect();
        let Some(leaf) = links.first() else {
            return Self::Other {
                subject: "unknown".to_owned(),
                role: role(0),
                reason: "it is malformed".to_owned(),
            };
        };
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                let failing = links.iter().position(|link| link.status.is_expired()).unwrap_or(0);
                Self::Expired {
                    subject: links[failing].subject(),
                    role: role(failing),
                    since: links[failing].status.not_after,
                }
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                let now = SystemTime::now();
                let early = |link: &Link| link.status.not_before > now;
                let failing = links.iter().position(early).unwrap_or(0);
                Self::NotYetValid {
                    subject: links[failing].subject(),
                    role: role(failing),
                    from: links[failing].status.not_before,
                }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Self::WrongName {
                subject: leaf.subject(),
                names: leaf.status.names.iter().map(|name| shown(name)).collect(),
                wanted: wanted.to_str().into_owned(),
            },
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                untrusted(matches!(error, CertificateError::BadSignature), &links, expired)
            }
            other => Self::Other {
                subject: leaf.subject(),
                role: role(0),
                reason: shown(&other.to_string()),
            },
        }
    }
}

/// Follows the chain from the server's certificate to the first one whose issuer is missing, and explains that.
fn untrusted(bad_signature: bool, links: &[Link], expired: &[CertificateStatus]) -> ChainError {
    // The chain is followed forward only, so that two certificates which name each other as issuer are no endless loop.
    let mut last = 0;
    while !links[last].is_self_signed()
        && let Some(next) = links.iter().position(|link| link.subject == links[last].issuer)
        && next > last
    {
        last = next;
    }
    let link = &links[last];
    let issuer = shown(&link.issuer_name);
    // If the issuer was given as CA and has expired, that is the cause, and "unknown issuer" would mislead.
    if let Some(authority) = expired.iter().find(|authority| authority.subject == link.issuer_name) {
        return ChainError::AuthorityExpired {
            subject: shown(&authority.subject),
            since: authority.not_after,
        };
    }
    let (subject, role) = (link.subject(), role(last));
    match (bad_signature, link.is_self_signed()) {
        (true, _) => ChainError::OtherKey { subject, role, issuer },
        (false, true) => ChainError::SelfSigned { subject, role },
        (false, false) => ChainError::UntrustedIssuer { subject, role, issuer },
    }
}

/// The parts of a chain's certificate that the explanation needs.
struct Link {
    status: CertificateStatus,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    issuer_name: String,
}

impl Link {
    fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let status = CertificateStatus::read(certificate).ok()?;
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        Some(Self {
            status,
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
            issuer_name: crate::status::name_of(parsed.issuer()),
        })
    }

    fn subject(&self) -> String {
        shown(&self.status.subject)
    }

    fn is_self_signed(&self) -> bool {
        self.subject == self.issuer
    }
}

/// The role of the certificate at this position of a chain.
fn role(position: usize) -> &'static str {
    if position == 0 {
        "certificate"
    } else {
        "intermediate certificate"
    }
}

/// A list of names for display.
fn listed(names: &[String]) -> String {
    match names {
        [] => "no name at all".to_owned(),
        names if names.len() > MOST_NAMES => {
            let more = names.len() - MOST_NAMES;
            format!("`{}` and {more} more", names[..MOST_NAMES].join("`, `"))
        }
        names => format!("`{}`", names.join("`, `")),
    }
}

/// Makes a text that the peer chose harmless for logs: short, and without control characters.
fn shown(text: &str) -> String {
    let mut harmless: String = text
        .chars()
        .map(|character| if character.is_control() { '?' } else { character })
        .take(LONGEST_NAME)
        .collect();
    if text.chars().count() > LONGEST_NAME {
        harmless.push('…');
    }
    harmless
}
