//! How a drain is doing: what the HTTP interface, the reports and the developer's log show.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use parking_lot::Mutex;
use serde::Serialize;

pub(crate) mod http;

/// The state of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It was not reached yet: nothing was sent to it, or it is being connected to for the first time.
    #[default]
    Connecting,
    /// It takes what it is sent.
    Flowing,
    /// It fails; what waits is kept.
    Retrying,
    /// It takes something, but what waits is (also) on disk.
    Spilling,
    /// It is beyond the limit of its app: nothing is sent to it.
    OverLimit,
    /// It is not bound any more.
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

/// What is known of a drain at one moment. Times in nanoseconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) state: State,
    pub(crate) since: i64,
    pub(crate) waiting_lines: u64,
    pub(crate) waiting_bytes: u64,
    /// When the oldest that waits came in.
    pub(crate) oldest: Option<i64>,
    pub(crate) last_error: Option<Arc<str>>,
    pub(crate) next_try: Option<i64>,
    /// Why its backlog cannot be written to disk.
    pub(crate) disk_error: Option<Arc<str>>,
}

impl Snapshot {
    /// The age of the oldest that waits, in milliseconds.
    pub(crate) fn lag_ms(&self, now: i64) -> u64 {
        let oldest = self.oldest.filter(|_| self.waiting_lines > 0).unwrap_or(now);
        u64::try_from(now.saturating_sub(oldest) / 1_000_000).unwrap_or(0)
    }
}

/// The state of a drain as its task sees it, for everybody else to look at.
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

    /// Changes it; the state's `since` follows the state. Returns whether there is something to tell.
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
    /// The app's GUID; `syslog_agent` for an aggregate drain.
    pub(crate) app: String,
    /// Without user info and query.
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

/// A time as RFC 3339 has it.
pub(crate) fn rfc3339(nanos: i64) -> String {
    DateTime::<Utc>::from_timestamp_nanos(nanos).to_rfc3339_opts(SecondsFormat::Millis, true)
}
