//! The failure of a connection or shipment, described for the developer who owns the drain.

use std::fmt;
use std::time::Duration;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};

/// The stage at which a delivery failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The host name of the drain has no address.
    Dns,
    /// All addresses of the drain are in blocked ranges.
    Blocked,
    /// No TCP connection could be made.
    Connect,
    /// The TLS handshake failed, because of certificates, names or the protocol.
    Tls,
    /// The drain does not read what is written.
    Write,
    /// The HTTP drain answered with an error, or not at all.
    Http,
    /// The connection was closed.
    Closed,
}

impl Stage {
    /// The stable name of the stage in tags and tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Blocked => "blocked",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Write => "write",
            Self::Http => "http",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// How much of the unsettled data a drain had read when its TCP or TLS connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unsettled {
    /// All written data was settled, so no message can have ended the connection.
    Nothing,
    /// The drain may have read some of the data.
    Unknown,
    /// The drain had read all of the data: it closed the connection in order, and a kernel resets a connection that is
    /// closed with unread data.
    Read,
}

/// The failure of a connection to a drain, or of a shipment.
///
/// Its text tells the developer what failed and why. It contains no user info, query or key material.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct Failure {
    /// The stage at which the delivery failed.
    pub stage: Stage,
    /// Whether a retry is useless until the drain or its binding is changed. A shipment that is rejected so will never
    /// be accepted.
    pub permanent: bool,
    /// Whether every other shipment would fail in the same way, as for the answers `401`, `403`, `404` and `410`, for a
    /// redirect, and for every broken connection.
    pub drain_wide: bool,
    /// The delay after which the drain asks for a retry.
    pub retry_after: Option<Duration>,
    /// The HTTP status, if the drain answered.
    pub status: Option<u16>,
    /// How much of the unsettled data the drain had read, if its connection ended.
    pub unsettled: Unsettled,
    text: String,
    hint: Option<&'static str>,
}

impl Failure {
    pub(crate) fn new(stage: Stage, text: impl Into<String>) -> Self {
        Self {
            stage,
            permanent: false,
            drain_wide: true,
            retry_after: None,
            status: None,
            unsettled: Unsettled::Unknown,
            text: text.into(),
            hint: None,
        }
    }

    pub(crate) fn with_unsettled(mut self, unsettled: Unsettled) -> Self {
        self.unsettled = unsettled;
        self
    }

    pub(crate) fn permanent(mut self) -> Self {
        self.permanent = true;
        self
    }

    pub(crate) fn hint(mut self, hint: &'static str) -> Self {
        self.hint = Some(hint);
        self
    }
}

impl Classify for Failure {
    fn kind(&self) -> ErrorKind {
        match self.stage {
            Stage::Dns | Stage::Connect | Stage::Write | Stage::Closed => ErrorKind::Unavailable,
            Stage::Blocked => ErrorKind::Forbidden,
            Stage::Tls => ErrorKind::Unauthenticated,
            Stage::Http => self
                .status
                .and_then(|status| http::StatusCode::from_u16(status).ok())
                .and_then(ErrorKind::from_http)
                .unwrap_or(ErrorKind::Unavailable),
        }
    }

    fn retryable(&self) -> bool {
        !self.permanent
    }

    fn hint(&self) -> Option<String> {
        self.hint.map(str::to_owned)
    }
}
