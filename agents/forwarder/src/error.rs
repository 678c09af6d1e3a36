//! Why a forwarder agent does not run.

use std::path::PathBuf;

use thiserror::Error;
use weir_agents_lib::yaml::YamlError;
use weir_error::{Classify, ErrorKind};

/// Why a forwarder agent cannot start, or stopped.
#[derive(Debug, Error)]
pub enum Error {
    /// As any agent.
    #[error(transparent)]
    Agent(#[from] weir_agents_lib::Error),
    /// A file that should name a downstream cannot be read.
    #[error("downstream file `{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A file that should name a downstream is not what it should be.
    #[error("downstream file `{}`", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: YamlError,
    },
    /// A downstream is this agent itself.
    #[error("downstream `{name}` is this agent itself")]
    Loop {
        /// Its name.
        name: String,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Agent(error) => error.kind(),
            Self::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            Self::Unreadable { .. } => ErrorKind::Unavailable,
            Self::Malformed { .. } | Self::Loop { .. } => ErrorKind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Agent(error) => error.hint(),
            Self::Unreadable { .. } => Some("give this process access to it, or change `downstream_files`".to_owned()),
            Self::Malformed { .. } => Some("it should say `ingress: \"PORT\"`".to_owned()),
            Self::Loop { .. } => Some("name the agents behind this one".to_owned()),
        }
    }
}
