//! The state of a drain, as the HTTP interface, the reports and the app's log show it.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use parking_lot::Mutex;
use serde::Serialize;

/// The state of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// The drain was not reached yet: nothing was sent to it, or it is being connected to for the first time.
    #[default]
    Connecting,
    /// The drain accepts what it is sent.
    Flowing,
    /// The drain fails, and its envelopes are kept.
    Retrying,
    /// The drain accepts envelopes, but some or all of the waiting ones are on disk.
    Spilling,
    /// The drain is beyond the limit of its app, and nothing is sent to it.
    OverLimit,
    /// The binding was removed.
    Removed,
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Flowing => "flowing",
            Self::Retrying => "retrying",
            Self::Spilling => "spilling",
            Self::OverLimit => "over_limit",
            Self::Removed => "removed",
        }
    }
}

/// The state of a drain at one moment. Times are in nanoseconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    pub(crate) since: i64,
    pub(crate) waiting_lines: u64,
    pub(crate) waiting_bytes: u64,
    /// When the oldest waiting envelope arrived.
    pub(crate) oldest: Option<i64>,
    pub(crate) last_error: Option<Arc<str>>,
    pub(crate) next_try: Option<i64>,
    /// Why the backlog cannot be written to disk.
    pub(crate) disk_error: Option<Arc<str>>,
}

impl Snapshot {
    /// Returns the age of the oldest waiting envelope, in milliseconds.
    pub(crate) fn lag_ms(&self, now: i64) -> u64 {
        let oldest = self.oldest.filter(|_| self.waiting_lines > 0).unwrap_or(now);
        u64::try_from(now.saturating_sub(oldest) / 1_000_000).unwrap_or(0)
    }
}

/// The state of a drain. Its task writes it, and everything else reads it.
#[derive(Debug, Default)]
pub(crate) struct Status {
    current: Mutex<Snapshot>,
}

impl Status {
    pub(crate) fn new(state: State, now: i64) -> Self {
        Self {
            current: Mutex::new(Snapshot {
                state,
                since: now,
                ..Snapshot::default()
            }),
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.current.lock().clone()
    }

    /// Changes the state. `since` is set when `state` changes. Returns whether the change should be reported.
    pub(crate) fn update(&self, now: i64, change: impl FnOnce(&mut Snapshot)) -> bool {
        let mut current = self.current.lock();
        let (state, disk) = (current.state, current.disk_error.is_some());
        change(&mut current);
        if current.state != state {
            current.since = now;
        }
        current.state != state || current.disk_error.is_some() != disk
    }
}

/// A row of `GET /v1/drains`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) binding: String,
    /// The GUID of the app, or `syslog_agent` for an aggregate drain.
    pub(crate) app: String,
    /// The URL without user information and query.
    pub(crate) url: String,
    pub(crate) state: State,
    pub(crate) since: String,
    pub(crate) waiting_lines: u64,
    pub(crate) waiting_bytes: u64,
    pub(crate) lost: u64,
    pub(crate) last_error: Option<String>,
    pub(crate) next_try: Option<String>,
    pub(crate) lag_ms: u64,
    pub(crate) reported_at: String,
}

/// Formats a time as RFC 3339, with milliseconds.
pub(crate) fn rfc3339(nanos: i64) -> String {
    DateTime::<Utc>::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::Millis, true)
}
