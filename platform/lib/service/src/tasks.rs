//! Named tasks: who runs, who is late at the end, who died.
//!
//! Everything a component starts runs here. [`Tasks::spawn`] is for work that may end whenever it is done,
//! [`Tasks::spawn_critical`] for work that the component cannot live without, [`Tasks::spawn_blocking`] for blocking
//! calls, and [`Tasks::hold`] for anything else that must be waited for. A panic anywhere, and the end of a critical task
//! before shutdown, is a [`Failure`]: logged, shown in [`Health`], kept for [`Tasks::join`], and the component's shutdown
//! is requested, because half a component is worse than a supervisor's restart.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use parking_lot::Mutex;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinHandle};
use tracing::Instrument as _;
use weir_error::{Classify, ErrorKind, chain};

use crate::{Health, Trigger, panic};

/// How many failures are kept for [`Tasks::join`]; the first ones tell the story, all of them are logged.
const KEPT_FAILURES: usize = 16;

/// A component's tasks. Clones share the list.
#[derive(Debug, Clone)]
pub struct Tasks {
    list: Arc<List>,
}

#[derive(Debug)]
struct List {
    state: Mutex<State>,
    changed: Notify,
    trigger: Trigger,
    health: Health,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    running: BTreeMap<u64, Entry>,
    failed: Vec<Failure>,
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    abort: Option<AbortHandle>,
}

/// A task that did not end as it should.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("task `{name}` {how}")]
pub struct Failure {
    /// The task's name.
    pub name: &'static str,
    /// What happened to it, for reading: `panicked: …`, `failed: …`, `ended early`.
    pub how: String,
}

/// Why [`Tasks::join`] is not content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TasksError {
    /// Who still ran at the deadline (and was then ended), with how many of that name.
    pub pending: Vec<(&'static str, usize)>,
    /// Who failed, in order; at most the first 16.
    pub failed: Vec<Failure>,
}

impl fmt::Display for TasksError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for failure in &self.failed {
            write!(formatter, "{separator}{failure}")?;
            separator = "; ";
        }
        if !self.pending.is_empty() {
            write!(
                formatter,
                "{separator}tasks are still running at the deadline: {}",
                Names(&self.pending)
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for TasksError {}

impl Classify for TasksError {
    fn kind(&self) -> ErrorKind {
        if self.failed.is_empty() {
            ErrorKind::Timeout
        } else {
            ErrorKind::Internal
        }
    }
}

struct Names<'a>(&'a [(&'static str, usize)]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match count {
                1 => write!(formatter, "{comma}`{name}`")?,
                _ => write!(formatter, "{comma}`{name}` ×{count}")?,
            }
        }
        Ok(())
    }
}

impl Tasks {
    /// An empty list. Failures are shown on `health` and fire `trigger`.
    #[must_use]
    pub fn new(trigger: Trigger, health: Health) -> Self {
        Self {
            list: Arc::new(List {
                state: Mutex::default(),
                changed: Notify::new(),
                trigger,
                health,
            }),
        }
    }

    /// Runs `work` as a task named `name`, within the current tracing span. Dropping the handle does not end it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn<F>(&self, name: &'static str, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let guard = self.hold(name);
        let id = guard.id;
        let list = Arc::clone(&self.list);
        let watched = async move {
            let _guard = guard;
            match AssertUnwindSafe(work).catch_unwind().await {
                Ok(output) => output,
                Err(payload) => {
                    list.fail(name, format!("panicked: {}", panic::text(payload.as_ref())));
                    resume_unwind(payload)
                }
            }
        };
        let handle = Handle::current().spawn(watched.in_current_span());
        // It may be over already: then there is no entry to end.
        if let Some(entry) = self.list.state.lock().running.get_mut(&id) {
            entry.abort = Some(handle.abort_handle());
        }
        handle
    }

    /// Runs work that the component cannot live without: if it fails, or ends before shutdown is requested, the part
    /// `name` of the component's health fails and shutdown is requested.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn_critical<F, E>(&self, name: &'static str, work: F) -> JoinHandle<()>
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error + Send + 'static,
    {
        let list = Arc::clone(&self.list);
        self.spawn(name, async move {
            match work.await {
                Ok(()) if list.trigger.shutdown().is_requested() => {}
                Ok(()) => list.fail(name, "ended early".to_owned()),
                Err(error) => list.fail(name, format!("failed: {}", chain(&error))),
            }
        })
    }

    /// Runs a blocking call on tokio's blocking threads. It cannot be ended from outside: it has to look at the shutdown
    /// itself if it takes long.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn_blocking<F, R>(&self, name: &'static str, work: F) -> JoinHandle<R>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Send + 'static,
    {
        let guard = self.hold(name);
        let list = Arc::clone(&self.list);
        let span = tracing::Span::current();
        Handle::current().spawn_blocking(move || {
            let _guard = guard;
            let _entered = span.enter();
            match std::panic::catch_unwind(AssertUnwindSafe(work)) {
                Ok(output) => output,
                Err(payload) => {
                    list.fail(name, format!("panicked: {}", panic::text(payload.as_ref())));
                    resume_unwind(payload)
                }
            }
        })
    }

    /// A token for something that is no task but must be waited for, such as a thread. Dropping it completes.
    #[must_use = "dropping the guard completes it"]
    pub fn hold(&self, name: &'static str) -> Guard {
        let mut state = self.list.state.lock();
        let id = state.next;
        state.next += 1;
        state.running.insert(id, Entry { name, abort: None });
        Guard {
            id,
            list: Arc::clone(&self.list),
        }
    }

    /// Reports a failure that happened outside a task: as a panic of one would be.
    pub fn fail(&self, name: &'static str, how: impl Into<String>) {
        self.list.fail(name, how.into());
    }

    /// Who runs now, with how many of that name.
    #[must_use]
    pub fn pending(&self) -> Vec<(&'static str, usize)> {
        let mut counts = BTreeMap::new();
        for entry in self.list.state.lock().running.values() {
            *counts.entry(entry.name).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    /// Waits until no task is left, at most `deadline`; who runs then is logged and ended. Does not ask anyone to stop:
    /// that is the trigger's part. Cancel safe; tasks spawned meanwhile are waited for too.
    ///
    /// # Errors
    /// Who was late, and every failure since the start.
    pub async fn join(&self, deadline: Duration) -> Result<(), TasksError> {
        let pending = match tokio::time::timeout(deadline, self.idle()).await {
            Ok(()) => Vec::new(),
            Err(_) => self.pending(),
        };
        if !pending.is_empty() {
            tracing::warn!(pending = %Names(&pending), "tasks are late and are ended");
            let late: Vec<AbortHandle> = self
                .list
                .state
                .lock()
                .running
                .values()
                .filter_map(|entry| entry.abort.clone())
                .collect();
            late.iter().for_each(AbortHandle::abort);
        }
        let failed = self.list.state.lock().failed.clone();
        if pending.is_empty() && failed.is_empty() {
            Ok(())
        } else {
            Err(TasksError { pending, failed })
        }
    }

    async fn idle(&self) {
        loop {
            let mut changed = std::pin::pin!(self.list.changed.notified());
            changed.as_mut().enable();
            if self.list.state.lock().running.is_empty() {
                return;
            }
            changed.await;
        }
    }
}

impl List {
    fn fail(&self, name: &'static str, how: String) {
        tracing::error!(task = name, how, "task failed, the component stops");
        self.health.part(name).failed(how.clone());
        {
            let mut state = self.state.lock();
            if state.failed.len() < KEPT_FAILURES {
                state.failed.push(Failure { name, how });
            }
        }
        self.trigger.fire();
    }
}

/// Something that [`Tasks::join`] waits for until it is dropped.
#[derive(Debug)]
pub struct Guard {
    id: u64,
    list: Arc<List>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let last = {
            let mut state = self.list.state.lock();
            state.running.remove(&self.id);
            state.running.is_empty()
        };
        if last {
            self.list.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
