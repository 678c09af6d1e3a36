//! The drains that there are, for those who look at them.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::drain::Drain;
use crate::status::{Row, State, rfc3339};

/// Lines that wait for being told; the oldest go.
const MAX_NOTICES: usize = 1000;

/// The source id of what is said of aggregate drains.
pub(crate) const AGENT_SOURCE: &str = "syslog_agent";

/// A line for an app's log that is not about a drain that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) app: String,
    pub(crate) text: String,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    drains: RwLock<Arc<[Arc<Drain>]>>,
    revision: RwLock<Option<String>>,
    notices: Mutex<VecDeque<Notice>>,
}

impl Registry {
    /// All drains: those that run, those beyond their app's limit, and those that are on their way out.
    pub(crate) fn drains(&self) -> Arc<[Arc<Drain>]> {
        Arc::clone(&self.drains.read())
    }

    pub(crate) fn replace(&self, drains: Vec<Arc<Drain>>) {
        *self.drains.write() = drains.into();
    }

    /// The `ETag` of the list of bindings that is in force.
    pub(crate) fn revision(&self) -> Option<String> {
        self.revision.read().clone()
    }

    pub(crate) fn set_revision(&self, revision: Option<String>) {
        *self.revision.write() = revision;
    }

    /// Notes a line to be told.
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

    /// There is a sign that the drains at this [place](weir_drain::DrainUrl::place) can be reached: those that wait for the
    /// end of a pause are tried now.
    pub(crate) fn reached(&self, place: &str) {
        let drains = self.drains();
        let waiting = drains
            .iter()
            .filter(|drain| drain.status.snapshot().state == State::Retrying);
        waiting
            .filter(|drain| drain.is_at(place))
            .for_each(|drain| drain.hope());
    }

    /// The rows of `GET /v1/drains`.
    pub(crate) fn rows(&self, now: i64) -> Vec<Row> {
        self.drains().iter().map(|drain| row(drain, now)).collect()
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
