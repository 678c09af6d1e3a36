//! What can be wrong with certificates and keys, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};

use crate::status::date;

/// A certificate, a key or a configuration made of them is not usable.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file is missing or may not be read.
    #[error("file `{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file or its directory may not be written.
    #[error("file `{}` cannot be written", path.display())]
    Unwritable {
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file does not contain what it should.
    #[error("file `{}` holds no {wanted} in PEM form", path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// `certificate` or `private key`.
        wanted: &'static str,
    },
    /// A PEM section decodes to something that is no certificate.
    #[error("certificate `{}` is malformed: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// A key that rustls cannot use.
    #[error("key `{}` is not usable", path.display())]
    UnusableKey {
        /// The file.
        path: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The key is another certificate's.
    #[error("key `{}` does not belong to certificate `{}`", key.display(), cert.display())]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The certificate's time is over.
    #[error("certificate `{}` of `{subject}` expired on {}", path.display(), date(*since))]
    Expired {
        /// The file.
        path: PathBuf,
        /// Whose certificate it is.
        subject: String,
        /// Since when.
        since: SystemTime,
    },
    /// The certificate's time has not come.
    #[error("certificate `{}` of `{subject}` is not valid before {}", path.display(), date(*from))]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// Whose certificate it is.
        subject: String,
        /// From when on it is valid.
        from: SystemTime,
    },
    /// The certificate was not signed by the CA beside it.
    #[error("certificate `{}` was not issued by the CA in `{}`", cert.display(), ca.display())]
    ForeignAuthority {
        /// The certificate's file.
        cert: PathBuf,
        /// The CA's file.
        ca: PathBuf,
    },
    /// A name that cannot be a file name and a certificate's subject, or a server's DNS name.
    #[error("name `{name}` is not usable for a certificate")]
    InvalidName {
        /// The name.
        name: String,
    },
    /// The system trusts no CA.
    #[error("the system has no CA certificates")]
    NoSystemAuthority,
    /// rustls refuses the configuration.
    #[error("tls configuration is not usable")]
    Configuration(#[from] rustls::Error),
    /// A certificate could not be made.
    #[error("certificate for `{name}` cannot be issued")]
    Issue {
        /// Whose certificate.
        name: String,
        /// What rcgen said.
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
            Self::Malformed { .. } => "issue it anew: the file is damaged".to_owned(),
            Self::UnusableKey { .. } => "use an unencrypted ECDSA P-256, P-384, Ed25519 or RSA key".to_owned(),
            Self::KeyMismatch { .. } => "replace both files by a pair that was issued together".to_owned(),
            Self::Expired { .. } => {
                "replace it; a running component takes the new file by itself, `weir up` renews its own".to_owned()
            }
            Self::NotYetValid { .. } => "check this machine's clock".to_owned(),
            Self::ForeignAuthority { .. } => "issue it from this CA, or name the CA that did".to_owned(),
            Self::InvalidName { .. } => "use letters, digits, `-`, `_` and `.`".to_owned(),
            Self::NoSystemAuthority => "install the system's CA certificates, or name a CA file".to_owned(),
            Self::Configuration(_) | Self::Issue { .. } => return None,
        })
    }
}
