//! Which drains there are: the lists of the binding cache and the operator, and what follows from them.
//!
//! ```text
//! cache ─(mTLS, long poll)─▶ Poller ─▶ Lists ─▶ Manager ─▶ drains begin, go on, end ─▶ Table, Registry
//! saved list, aggregate drains of the configuration ─┘
//! ```
//!
//! A list that cannot be had changes nothing: the last one stays in force, and is kept on file, so that an agent that is
//! started without a cache goes on draining. A list that cannot be read changes nothing either; a binding in it that is
//! not usable costs only itself, and its app is told.

mod aggregates;
mod http;
mod manager;
mod parsed;
mod poller;
mod saved;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use weir_service::{Shutdown, Tasks};
use weir_tls::TlsError;

use crate::config::{Aggregate, Cache};
use crate::metrics::Refreshes;

pub(crate) use manager::Manager;

use parsed::Parsed;
use poller::{Poller, Update};
use saved::Saved;

/// Files of aggregate drains are looked at this often.
const FILES_EVERY: Duration = Duration::from_secs(30);

/// A cache that does not answer at the start is not waited for any longer.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// Drains that ended by themselves are looked for this often.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Which of the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Bindings,
    Aggregates,
}

/// The lists that are in force.
pub(crate) struct Lists {
    manager: Manager,
    tasks: Tasks,
    /// What the cache says, and its `ETag`.
    bindings: Parsed,
    revision: Option<String>,
    aggregates: Parsed,
    /// Of the configuration; if there are any, those of the cache do not count.
    configured: Vec<Aggregate>,
    saved: Saved,
    updates: mpsc::Receiver<Update>,
    pollers: Vec<Poller>,
}

impl Lists {
    /// Reads what is saved; nothing begins yet.
    pub(crate) fn new(
        manager: Manager,
        cache: Option<&Cache>,
        configured: Vec<Aggregate>,
        state_dir: PathBuf,
        refreshes: &Arc<Refreshes>,
        tasks: &Tasks,
    ) -> Result<Self, TlsError> {
        let (sender, updates) = mpsc::channel(4);
        let mut pollers = Vec::new();
        if let Some(cache) = cache {
            pollers.push(Poller::new(cache, Which::Bindings, sender.clone(), refreshes, tasks)?);
            if configured.is_empty() {
                pollers.push(Poller::new(cache, Which::Aggregates, sender, refreshes, tasks)?);
            }
        }
        Ok(Self {
            manager,
            tasks: tasks.clone(),
            bindings: Parsed::default(),
            revision: None,
            aggregates: Parsed::default(),
            configured,
            saved: Saved::new(state_dir),
            updates,
            pollers,
        })
    }

    /// Puts the lists of the last time in force, or asks once if there are none: what comes in from now on should find its
    /// drains.
    pub(crate) async fn begin(&mut self) {
        let known = self.restore().await;
        self.read_configured().await;
        self.apply(false);
        for poller in &mut self.pollers {
            poller.follows(match poller.which() {
                Which::Bindings => self.saved.bindings_etag(),
                Which::Aggregates => self.saved.aggregates_etag(),
            });
            if !known {
                // Whether it is there will be seen soon enough.
                drop(timeout(FIRST_ANSWER, poller.ask()).await);
            }
        }
        while let Ok(update) = self.updates.try_recv() {
            self.update(update).await;
        }
    }

    /// Keeps the lists in force until `stop`; returns who knows the drains.
    pub(crate) async fn run(mut self, stop: Shutdown) -> Manager {
        for poller in std::mem::take(&mut self.pollers) {
            let (stop, name) = (stop.clone(), poller.name());
            self.tasks.spawn(name, async move {
                stop.unless_requested(poller.run()).await;
            });
        }
        let mut files = tokio::time::interval(FILES_EVERY);
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        files.tick().await;
        loop {
            tokio::select! {
                () = stop.requested() => return self.manager,
                Some(update) = self.updates.recv() => self.update(update).await,
                _ = sweep.tick() => self.manager.sweep(),
                _ = files.tick(), if !self.configured.is_empty() => {
                    if self.read_configured().await {
                        self.apply(false);
                    }
                }
            }
        }
    }

    /// The lists of the last time; returns whether there are any.
    async fn restore(&mut self) -> bool {
        let mut saved = self.saved.clone();
        let read = self.tasks.spawn_blocking("read saved bindings", move || {
            saved.read();
            let bindings = saved.bindings().map(Parsed::bindings);
            let aggregates = saved.aggregates().map(Parsed::aggregates);
            (saved, bindings, aggregates)
        });
        let Ok((saved, bindings, aggregates)) = read.await else {
            return false;
        };
        self.saved = saved;
        let mut known = false;
        if let Some(Ok(bindings)) = bindings {
            tracing::info!(
                bindings = bindings.usable.len(),
                "drains go on with the bindings of the last time"
            );
            self.bindings = bindings;
            self.revision = self.saved.bindings_etag();
            known = true;
        }
        if let Some(Ok(aggregates)) = aggregates {
            self.aggregates = aggregates;
        }
        known
    }

    /// The operator's aggregate drains, with their files as they are now; returns whether something changed.
    async fn read_configured(&mut self) -> bool {
        if self.configured.is_empty() {
            return false;
        }
        let configured = self.configured.clone();
        let read = self
            .tasks
            .spawn_blocking("read aggregate drains", move || aggregates::read(&configured));
        match read.await {
            Ok(read) if read.usable != self.aggregates.usable => {
                for invalid in &read.invalid {
                    tracing::error!(
                        drain = invalid.url_safe,
                        reason = invalid.text,
                        "aggregate drain cannot be used"
                    );
                }
                self.aggregates = read;
                true
            }
            _ => false,
        }
    }

    async fn update(&mut self, update: Update) {
        let Update { which, body, etag } = update;
        let parsing = body.clone();
        let parsed = self.tasks.spawn_blocking("read bindings", move || match which {
            Which::Bindings => Parsed::bindings(&parsing),
            Which::Aggregates => Parsed::aggregates(&parsing),
        });
        match parsed.await {
            Ok(Ok(parsed)) => match which {
                Which::Bindings => {
                    self.bindings = parsed;
                    self.revision.clone_from(&etag);
                }
                Which::Aggregates => self.aggregates = parsed,
            },
            Ok(Err(error)) => {
                tracing::error!(%error, "the binding cache sent a list that cannot be read; the last one stays in force");
                return;
            }
            Err(_) => return,
        }
        self.apply(which == Which::Bindings);
        self.saved.set(which, body, etag);
        let saved = self.saved.clone();
        let written = self.tasks.spawn_blocking("save bindings", move || saved.write());
        if let Ok(Err(error)) = written.await {
            weir_service::limited!(
                warn,
                Duration::from_secs(60),
                error = %error,
                "the list of bindings cannot be saved; without the cache an agent that is started anew would not drain"
            );
        }
    }

    fn apply(&mut self, fresh: bool) {
        self.manager
            .apply(&self.bindings, &self.aggregates.usable, self.revision.clone(), fresh);
    }
}
