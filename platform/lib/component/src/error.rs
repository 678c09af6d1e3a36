//! The failure of a component to start or to run.

use std::error::Error as StdError;
use std::fmt;

use weir_config::{Problems, RenderError};
use weir_error::{Classify, ErrorKind};

use crate::UnknownPort;

/// A failure of a component whose type is erased. It reads and classifies as the failure that it holds.
#[derive(Debug)]
pub struct Error(Box<dyn Classify + Send + Sync>);

impl Error {
    /// A failure of a server.
    pub(crate) fn server(error: impl Classify + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        self.0.kind()
    }

    fn retryable(&self) -> bool {
        self.0.retryable()
    }

    fn hint(&self) -> Option<String> {
        self.0.hint()
    }
}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        Self::server(problems)
    }
}

impl From<RenderError> for Error {
    fn from(error: RenderError) -> Self {
        Self::server(error)
    }
}

impl From<UnknownPort> for Error {
    fn from(error: UnknownPort) -> Self {
        Self::server(error)
    }
}
