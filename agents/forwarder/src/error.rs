//! The reasons for which a forwarder agent cannot run.

use std::path::PathBuf;

use thiserror::Error;
use weir_config::yaml::YamlError;
use weir_error::{Classify, ErrorKind};
use weir_net::ServerError;

/// The reason for which a forwarder agent cannot start, or has stopped.
#[derive(Debug, Error)]
pub enum Error {
    /// An error that every agent can have: the port, its certificates or its server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A file that registers a downstream cannot be read.
    #[error("downstream file `{}` cannot be read", path.display())]
    Unreadable {
        /// The path of the file.
        path: PathBuf,
        /// The answer of the operating system.
        source: std::io::Error,
    },
    /// A file that registers a downstream is not valid.
    #[error("downstream file `{}`", path.display())]
    Malformed {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with the file.
        source: YamlError,
    },
    /// A downstream is this agent itself.
    #[error("downstream `{name}` is this agent itself")]
    Loop {
        /// The name of the downstream.
        name: String,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Server(error) => error.kind(),
            Self::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Unreadable { .. } => ErrorKind::Unavailable,
            Self::Malformed { .. } | Self::Loop { .. } => ErrorKind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Unreadable { .. } => Some("give this process access to it, or change `downstream_files`".to_owned()),
            Self::Malformed { .. } => Some("it should say `ingress: \"PORT\"`".to_owned()),
            Self::Loop { .. } => Some("name the agents behind this one".to_owned()),
        }
    }
}
