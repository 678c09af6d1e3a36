//! The named tasks of a component: which of them run, which are late at the end, and which have failed.
//!
//! A component runs everything that it starts here. [`Tasks::spawn`] is for work that may end at any time,
//! [`Tasks::spawn_critical`] for work that the component cannot do without, [`Tasks::spawn_blocking`] for blocking
//! calls, and [`Tasks::hold`] for anything else that must be waited for.
//!
//! A panic of any task is a [`Failure`], and so is the end of a critical task before shutdown. A failure is logged,
//! shown in [`Health`], and kept for [`Tasks::join`]. It requests the component's shutdown, because a component that
//! works in part is worse than a restart by its supervisor.

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

/// How many failures are kept for [`Tasks::join`]. The first ones show the cause, and all of them are logged.
const KEPT_FAILURES: usize = 16;

/// The tasks of a component. Clones share the list.
#[derive(Debug, Clone)]
pub struct Tasks {
    list: Arc<List>,
}

#[derive(Debug)]
struct List {
    state: Mutex<State>,
    /// Notified when the last task has ended.
    idle: Notify,
    trigger: Trigger,
    health: Health,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    running: BTreeMap<u64, Entry>,
    failed: Vec<Failure>,
}

#[derive(Debug)]
struct Entry {
    name: &'static str,
    /// Absent for blocking calls and guards, which cannot be aborted.
    abort: Option<AbortHandle>,
}

/// A task that has failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("task `{name}` {reason}")]
pub struct Failure {
    /// The name of the task.
    pub name: &'static str,
    /// What happened to the task, as text: `panicked: …`, `failed: …` or `ended early`.
    pub reason: String,
}

/// The tasks that were late or have failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TasksError {
    /// The names of the tasks that still ran at the deadline and were aborted, each with the number of its tasks.
    pub pending: Vec<(&'static str, usize)>,
    /// The failures in their order, at most the first 16.
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

/// A list of names of tasks, for display.
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
    /// An empty list. A failure is shown on `health` and fires `trigger`.
    #[must_use]
    pub fn new(trigger: Trigger, health: Health) -> Self {
        Self {
            list: Arc::new(List {
                state: Mutex::default(),
                idle: Notify::new(),
                trigger,
                health,
            }),
        }
    }

    /// Runs `work` as a task named `name`, within the current tracing span. Dropping the handle does not end the task.
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
            // A part of the future, so that the task counts as ended even if it is aborted.
            let _guard = guard;
            // Safe to assert: after a panic the future is dropped and not polled again.
            match AssertUnwindSafe(work).catch_unwind().await {
                Ok(output) => output,
                Err(payload) => {
                    list.fail(name, format!("panicked: {}", panic::text(payload.as_ref())));
                    // The panic goes on, so that a caller who awaits the handle sees it, too.
                    resume_unwind(payload)
                }
            }
        };
        let handle = Handle::current().spawn(watched.in_current_span());
        // The task may have ended already, and then has no entry.
        if let Some(entry) = self.list.state.lock().running.get_mut(&id) {
            entry.abort = Some(handle.abort_handle());
        }
        handle
    }

    /// Runs work that the component cannot do without. If it fails, or ends before shutdown is requested, the part
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

    /// Runs a blocking call on tokio's blocking threads. It cannot be aborted, so a call that takes long has to check
    /// for shutdown itself.
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
            // tokio does not carry the span over to a blocking thread.
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

    /// A guard for work that is not a task but must be waited for, such as a thread. The work counts as ended when the
    /// guard is dropped.
    #[must_use = "the work counts as ended when the guard is dropped"]
    pub fn hold(&self, name: &'static str) -> Guard {
        let mut state = self.list.state.lock();
        let id = state.next_id;
        state.next_id += 1;
        state.running.insert(id, Entry { name, abort: None });
        Guard {
            id,
            list: Arc::clone(&self.list),
        }
    }

    /// Reports a failure that happened outside a task. It has the effects of a panic of the task `name`.
    pub fn fail(&self, name: &'static str, reason: impl Into<String>) {
        self.list.fail(name, reason.into());
    }

    /// The names of the running tasks, each with the number of its tasks.
    #[must_use]
    pub fn pending(&self) -> Vec<(&'static str, usize)> {
        let mut counts = BTreeMap::new();
        for entry in self.list.state.lock().running.values() {
            *counts.entry(entry.name).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    /// Waits until no task is left, at most `deadline`. Tasks that still run then are logged and aborted. This does not
    /// ask tasks to stop, which the trigger does. Tasks that are spawned meanwhile are waited for too. Cancel safe.
    ///
    /// # Errors
    /// The tasks that were late, and every failure since the start.
    pub async fn join(&self, deadline: Duration) -> Result<(), TasksError> {
        let pending = match tokio::time::timeout(deadline, self.idle()).await {
            Ok(()) => Vec::new(),
            Err(_) => self.pending(),
        };
        if !pending.is_empty() {
            tracing::warn!(pending = %Names(&pending), "tasks are late and are aborted");
            // Collected first: an aborted task may drop its guard at once, which locks the list.
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

    /// Waits until no task is left.
    async fn idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.list.idle.notified());
            // Registered before the check, so that the end of the last task in between is not missed.
            idle.as_mut().enable();
            if self.list.state.lock().running.is_empty() {
                return;
            }
            idle.await;
        }
    }
}

impl List {
    fn fail(&self, name: &'static str, reason: String) {
        tracing::error!(task = name, reason, "task failed, the component stops");
        self.health.part(name).failed(reason.clone());
        {
            let mut state = self.state.lock();
            if state.failed.len() < KEPT_FAILURES {
                state.failed.push(Failure { name, reason });
            }
        }
        self.trigger.fire();
    }
}

/// Work that [`Tasks::join`] waits for until the guard is dropped.
#[derive(Debug)]
pub struct Guard {
    id: u64,
    list: Arc<List>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The lock is released before the notification, because the woken task takes it at once.
        let last = {
            let mut state = self.list.state.lock();
            state.running.remove(&self.id);
            state.running.is_empty()
        };
        if last {
            self.list.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
