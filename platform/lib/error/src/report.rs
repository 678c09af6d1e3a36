//! An error as people and peers get to see it.

use std::error::Error;
use std::fmt;

use tonic::Status;

use crate::{Classify, ErrorKind};

/// Writes an error with its causes on one line and its hint on the next:
///
/// ```text
/// error: drain `syslog-tls://logs.example:6514`: certificate expired on 2026-01-03
/// hint: renew it at the drain, or remove the binding with `cf unbind-service`
/// ```
#[derive(Debug)]
pub struct Report<'a> {
    error: &'a dyn Error,
    kind: ErrorKind,
    hint: Option<String>,
}

impl<'a> Report<'a> {
    /// A report on `error`.
    pub fn new(error: &'a impl Classify) -> Self {
        Self {
            error,
            kind: error.kind(),
            hint: error.hint(),
        }
    }

    /// The error and its causes, separated by `: `, without `error:` and hint: the `error` field of a log line.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self.error)
    }

    /// The gRPC status that a client gets. Internal failures are masked: their text is for our log.
    #[must_use]
    pub fn status(&self) -> Status {
        Status::new(self.kind.grpc_code(), self.public_text())
    }

    /// What a client may read: the chain and the hint, or a mask for internal failures.
    #[must_use]
    pub fn public_text(&self) -> String {
        if self.kind == ErrorKind::Internal {
            return "internal error".to_owned();
        }
        match &self.hint {
            Some(hint) => format!("{} (hint: {hint})", self.chain()),
            None => self.chain(),
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.chain())?;
        match &self.hint {
            Some(hint) => write!(formatter, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The texts of `error` and its causes, separated by `: `: the `error` field of a log line. A cause whose text its parent repeats already (libraries do that) is left out.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !next.is_empty() && !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use thiserror::Error;
    use tonic::Code;

    use super::*;

    #[derive(Debug, Error)]
    enum Sample {
        #[error("drain `{name}` is not reachable")]
        Drain { name: &'static str, source: std::io::Error },
        #[error("counter overflowed")]
        Fault,
    }

    impl Classify for Sample {
        fn kind(&self) -> ErrorKind {
            match self {
                Self::Drain { .. } => ErrorKind::Unavailable,
                Self::Fault => ErrorKind::Internal,
            }
        }

        fn hint(&self) -> Option<String> {
            matches!(self, Self::Drain { .. }).then(|| "check the address".to_owned())
        }
    }

    fn drain() -> Sample {
        Sample::Drain {
            name: "a",
            source: std::io::Error::other("refused"),
        }
    }

    /// Subject first, cause after a colon, hint on its own line.
    #[test]
    fn prints_chain_and_hint() {
        assert_eq!(
            Report::new(&drain()).to_string(),
            "error: drain `a` is not reachable: refused\nhint: check the address"
        );
    }

    /// Clients read the chain of a failure they can act on, and nothing of an internal one.
    #[test]
    fn masks_internal_failures() {
        let status = Report::new(&drain()).status();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(
            status.message(),
            "drain `a` is not reachable: refused (hint: check the address)"
        );
        let status = Report::new(&Sample::Fault).status();
        assert_eq!((status.code(), status.message()), (Code::Internal, "internal error"));
        assert_eq!(Report::new(&Sample::Fault).chain(), "counter overflowed");
    }

    /// A cause that its parent's text repeats appears once.
    #[test]
    fn repeats_no_cause() {
        #[derive(Debug, Error)]
        #[error("outer: {0}")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(chain(&Outer(std::io::Error::other("inner"))), "outer: inner");
    }

    /// A boxed error classifies as the error inside.
    #[test]
    fn boxes_classify() {
        let boxed: Box<Sample> = Box::new(drain());
        assert_eq!(boxed.kind(), ErrorKind::Unavailable);
        assert!(boxed.hint().is_some());
        assert!(!boxed.retryable());
    }
}
