//! The errors of certificates and keys, with hints what to do.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};

use crate::status::date;

/// Why a certificate, a key or a configuration of them is not usable.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is missing or cannot be read.
    #[error("file `{}` cannot be read", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file or its directory cannot be written.
    #[error("file `{}` cannot be written", path.display())]
    Unwritable {
        /// The path of the file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file does not contain the expected PEM section.
    #[error("file `{}` holds no {wanted} in PEM form", path.display())]
    NotPem {
        /// The path of the file.
        path: PathBuf,
        /// The expected content: `certificate` or `private key`.
        wanted: &'static str,
    },
    /// A PEM section does not contain a valid certificate.
    #[error("certificate `{}` is malformed: {reason}", path.display())]
    Malformed {
        /// The path of the file.
        path: PathBuf,
        /// The error text of the parser.
        reason: String,
    },
    /// The key is of a kind that rustls does not support.
    #[error("key `{}` is not usable", path.display())]
    UnusableKey {
        /// The path of the file.
        path: PathBuf,
        /// The error of rustls.
        source: rustls::Error,
    },
    /// The key does not belong to the certificate.
    #[error("key `{}` does not belong to certificate `{}`", key.display(), cert.display())]
    KeyMismatch {
        /// The path of the certificate.
        cert: PathBuf,
        /// The path of the key.
        key: PathBuf,
    },
    /// The certificate has expired.
    #[error("certificate `{}` of `{subject}` expired on {}", path.display(), date(*since))]
    Expired {
        /// The path of the file.
        path: PathBuf,
        /// The subject of the certificate.
        subject: String,
        /// When it expired.
        since: SystemTime,
    },
    /// The certificate is not valid yet.
    #[error("certificate `{}` of `{subject}` is not valid before {}", path.display(), date(*from))]
    NotYetValid {
        /// The path of the file.
        path: PathBuf,
        /// The subject of the certificate.
        subject: String,
        /// When it becomes valid.
        from: SystemTime,
    },
    /// The certificate was not issued by the CA of its identity.
    #[error("certificate `{}` was not issued by the CA in `{}`", cert.display(), ca.display())]
    ForeignAuthority {
        /// The path of the certificate.
        cert: PathBuf,
        /// The path of the CA.
        ca: PathBuf,
    },
    /// A name that cannot be the name of a file and the subject of a certificate, or that cannot be a server's name.
    #[error("name `{name}` is not usable for a certificate")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// The system has no CA certificates.
    #[error("the system has no CA certificates")]
    NoSystemAuthority,
    /// rustls does not accept the configuration.
    #[error("tls configuration is not usable")]
    Configuration(#[from] rustls::Error),
    /// A certificate could not be issued.
    #[error("certificate for `{name}` cannot be issued")]
    Issue {
        /// The name of the identity.
        name: String,
        /// The error of rcgen.
        source: rcgen::Error,
    },
}

impl Classify for TlsError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Unreadable { .. } | Self::Unwritable { .. } => ErrorKind::Unavailable,
            Self::Issue { .. } => ErrorKind::Internal,
            Self::NotPem { .. }
            | Self::Malformed { .. }
            | Self::UnusableKey { .. }
            | Self::KeyMismatch { .. }
            | Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::ForeignAuthority { .. }
            | Self::InvalidName { .. }
            | Self::NoSystemAuthority
            | Self::Configuration(_) => ErrorKind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => "check the path in the configuration".to_owned(),
                io::ErrorKind::PermissionDenied => "run as the file's owner, or change its mode".to_owned(),
                _ => return None,
            },
            Self::Unwritable { .. } => "check the directory's owner, mode and free space".to_owned(),
            Self::NotPem { wanted, .. } => {
                format!(
                    "the file must contain a `-----BEGIN {}-----` section",
                    wanted.to_uppercase()
                )
            }
            Self::Malformed { .. } => "issue the certificate again: the file is damaged".to_owned(),
            Self::UnusableKey { .. } => "use an unencrypted ECDSA P-256, P-384, Ed25519 or RSA key".to_owned(),
            Self::KeyMismatch { .. } => "replace both files by a pair that was issued together".to_owned(),
            Self::Expired { .. } => {
                "replace it; a running component reloads the file, and `weir up` renews its own certificates".to_owned()
            }
            Self::NotYetValid { .. } => "check this machine's clock".to_owned(),
            Self::ForeignAuthority { .. } => "issue it from this CA, or configure the CA that has issued it".to_owned(),
            Self::InvalidName { .. } => "use letters, digits, `-`, `_` and `.`".to_owned(),
            Self::NoSystemAuthority => "install the system's CA certificates, or configure a CA file".to_owned(),
            Self::Configuration(_) | Self::Issue { .. } => return None,
        })
    }
}
