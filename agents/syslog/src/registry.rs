//! The current drains and notices, for everything that reports about them.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::drain::Drain;
use crate::metrics::DrainCounts;
use crate::status::{Row, State, rfc3339};

/// The largest number of notices that wait to be reported. Beyond it the oldest are discarded.
const MAX_NOTICES: usize = 1000;

/// The source id under which reports about aggregate drains are sent.
pub(crate) const AGENT_SOURCE: &str = "syslog_agent";

/// A line for an app's log about a binding that has no drain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) app: String,
    pub(crate) text: String,
}

/// The registry. The manager of the bindings writes it; reports, metrics and the HTTP interface read it.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    drains: RwLock<Arc<[Arc<Drain>]>>,
    revision: RwLock<Option<String>>,
    notices: Mutex<VecDeque<Notice>>,
}

impl Registry {
    /// Returns all drains: the running ones, those beyond their app's limit, and removed ones that still deliver.
    pub(crate) fn drains(&self) -> Arc<[Arc<Drain>]> {
        Arc::clone(&self.drains.read())
    }

    pub(crate) fn replace(&self, drains: Vec<Arc<Drain>>) {
        *self.drains.write() = drains.into();
    }

    /// Returns the `ETag` of the list of bindings in force.
    pub(crate) fn revision(&self) -> Option<String> {
        self.revision.read().clone()
    }

    pub(crate) fn set_revision(&self, revision: Option<String>) {
        *self.revision.write() = revision;
    }

    /// Adds a notice that is to be reported.
    pub(crate) fn notice(&self, notice: Notice) {
        let mut notices = self.notices.lock();
        if notices.len() == MAX_NOTICES {
            notices.pop_front();
        }
        notices.push_back(notice);
    }

    pub(crate) fn take_notices(&self) -> Vec<Notice> {
        self.notices.lock().drain(..).collect()
    }

    /// Tells all failing drains at this [place](weir_drain::DrainUrl::place) that it may be reachable again. They are
    /// tried at once, and not at the end of their pause.
    pub(crate) fn reached(&self, place: &str) {
        let drains = self.drains();
        let waiting = drains
            .iter()
            .filter(|drain| drain.status.snapshot().state == State::Retrying);
        waiting
            .filter(|drain| drain.is_at(place))
            .for_each(|drain| drain.retry_now());
    }

    /// Returns the counts of all drains, for metrics.
    pub(crate) fn counts(&self) -> Vec<DrainCounts> {
        let drains = self.drains();
        drains.iter().map(|drain| counts(drain)).collect()
    }

    /// Returns the rows of `GET /v1/drains`.
    pub(crate) fn rows(&self, now: i64) -> Vec<Row> {
        self.drains().iter().map(|drain| row(drain, now)).collect()
    }
}

fn counts(drain: &Drain) -> DrainCounts {
    let binding = drain.binding();
    DrainCounts {
        of_app: binding.app.is_some(),
        url: binding.url.safe().to_owned(),
        connected: drain.is_connected(),
        routed: drain.account.routed(),
        sent: drain.account.sent(),
        lost: drain.account.lost(),
    }
}

fn row(drain: &Drain, now: i64) -> Row {
    let binding = drain.binding();
    let status = drain.status.snapshot();
    let lag_ms = status.lag_ms(now);
    Row {
        binding: binding.id.to_string(),
        app: binding.source_id().unwrap_or(AGENT_SOURCE).to_owned(),
        url: binding.url.safe().to_owned(),
        state: status.state,
        since: rfc3339(status.since),
        waiting_lines: status.waiting_lines,
        waiting_bytes: status.waiting_bytes,
        lost: drain.account.lost(),
        last_error: status.last_error.as_deref().map(str::to_owned),
        next_try: status.next_try.map(rfc3339),
        lag_ms,
        reported_at: rfc3339(now),
    }
}
