//! Why a drain does not take what it is sent, in words for the developer whose drain it is.

use std::fmt;
use std::time::Duration;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};

/// How far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The drain's name has no address.
    Dns,
    /// Its addresses are in ranges that drains may not be in.
    Blocked,
    /// No TCP connection.
    Connect,
    /// No TLS: certificates, names, protocol.
    Tls,
    /// What was written is not taken.
    Write,
    /// The answer of an HTTP drain.
    Http,
    /// The connection ended.
    Closed,
}

impl Stage {
    /// A stable name for tags and tables.
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

/// What the drain had read of what was written to a TCP or TLS connection and not settled, when the connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unsettled {
    /// Nothing was written that was not settled: whatever ended the connection, no message did.
    Nothing,
    /// Perhaps some of it.
    Unknown,
    /// All of it: the drain closed the connection in order, and a kernel resets connections in which something is unread.
    Read,
}

/// What went wrong between us and a drain. Its text is for the developer: it says what fails and why, and holds neither
/// user info nor query nor key material.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{text}")]
pub struct Failure {
    /// How far it got.
    pub stage: Stage,
    /// Trying the same again cannot help until somebody changes the drain or its binding. Of a rejected shipment: it will
    /// never be taken.
    pub permanent: bool,
    /// It is not about one shipment: every other would meet the same (`401`, `403`, `404`, `410`, a redirect). Always so
    /// for a broken connection.
    pub drain_wide: bool,
    /// When the drain asks to be tried again.
    pub retry_after: Option<Duration>,
    /// The status, where the drain answered over HTTP.
    pub status: Option<u16>,
    /// How much of what was not settled the drain had read, where its connection ended.
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

    pub(crate) fn leaving(mut self, unsettled: Unsettled) -> Self {
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
