//! The reasons for which a UAA cannot run.

use std::io;

use thiserror::Error;
use weir_db::DbError;
use weir_error::{Classify, ErrorKind};
use weir_net::ServerError;
use weir_tls::TlsError;

pub use weir_platform_uaa_store::private_file::FileError;

/// The reason for which a UAA cannot start, or has stopped.
#[derive(Debug, Error)]
pub enum Error {
    /// A port or a server failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The database cannot be used.
    #[error(transparent)]
    Database(#[from] DbError),
    /// A private file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A signing key in the database was encrypted with another master key.
    #[error("signing key `{kid}` was sealed with another master key")]
    ForeignKey {
        /// The id of the key.
        kid: String,
    },
    /// No signing key could be created.
    #[error("signing key cannot be created")]
    NoKey,
    /// No thread could be started.
    #[error("thread cannot be started")]
    Thread(#[source] io::Error),
    /// The first passwords and secrets cannot be hashed, because the UAA is stopping.
    #[error("passwords cannot be hashed")]
    Hashing,
    /// The settings of a provider cannot be used.
    #[error("provider `{name}` cannot be used: {reason}")]
    Provider {
        /// The name of the provider.
        name: String,
        /// What is wrong with the settings.
        reason: String,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(error) => error.kind(),
            Self::Tls(error) => error.kind(),
            Self::Database(error) => error.kind(),
            Self::File(error) => error.kind(),
            Self::ForeignKey { .. } | Self::Provider { .. } => ErrorKind::InvalidInput,
            Self::NoKey | Self::Thread(_) | Self::Hashing => ErrorKind::Internal,
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Database(error) if error.retryable())
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::Database(error) => error.hint(),
            Self::File(error) => error.hint(),
            Self::ForeignKey { .. } => Some(
                "restore the file `master_key_file` that this database was made with, or delete all rows of `uaa_keys`: \
                 then everybody has to log in again"
                    .to_owned(),
            ),
            Self::Provider { .. } => Some("check its `ca`".to_owned()),
            Self::NoKey | Self::Thread(_) | Self::Hashing => None,
        }
    }
}
