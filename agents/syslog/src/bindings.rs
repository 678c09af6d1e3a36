//! The drains that the agent serves: the lists of the binding cache and of the operator, and what follows from them.
//!
//! ```text
//! cache ─(mTLS, long poll)─▶ Poller ─▶ Lists ─▶ Manager ─▶ drains start, go on, end ─▶ Table, Registry
//! saved list, aggregate drains of the configuration ─┘
//! ```
//!
//! If a list cannot be fetched, the last one stays in force. It is also saved to a file, so that an agent that starts
//! without a cache goes on draining. If a list cannot be parsed, the last one stays in force as well. A binding that is
//! invalid is left out of its list, and its app is told.

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

/// How often the files of configured aggregate drains are read again.
const FILES_EVERY: Duration = Duration::from_secs(30);

/// How long a starting agent waits for the first answer of its cache.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// How often the manager looks for drains that have ended by themselves.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The two lists that a binding cache serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListKind {
    Bindings,
    Aggregates,
}

/// The lists that are in force, and what is needed to update them.
pub(crate) struct Lists {
    manager: Manager,
    tasks: Tasks,
    /// The bindings that the cache sent last.
    bindings: Parsed,
    /// The `ETag` of `bindings`.
    revision: Option<String>,
    aggregates: Parsed,
    /// The aggregate drains of the configuration. If there are any, those of the cache are not used.
    configured: Vec<Aggregate>,
    saved: Saved,
    updates: mpsc::Receiver<Update>,
    pollers: Vec<Poller>,
}

impl Lists {
    /// Creates the lists. Nothing is read and no drain starts before [`Lists::begin`].
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
            pollers.push(Poller::new(cache, ListKind::Bindings, sender.clone(), refreshes)?);
            if configured.is_empty() {
                pollers.push(Poller::new(cache, ListKind::Aggregates, sender, refreshes)?);
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

    /// Puts the saved lists in force. If there are none, asks the cache once, so that envelopes that arrive from now on
    /// find their drains.
    pub(crate) async fn begin(&mut self) {
        let known = self.restore().await;
        self.read_configured().await;
        self.apply(false);
        for poller in &mut self.pollers {
            poller.follows(match poller.kind() {
                ListKind::Bindings => self.saved.bindings_etag(),
                ListKind::Aggregates => self.saved.aggregates_etag(),
            });
            if !known {
                // A cache that does not answer is no error here: the poller asks again, and reports it then.
                drop(timeout(FIRST_ANSWER, poller.ask()).await);
            }
        }
        while let Ok(update) = self.updates.try_recv() {
            self.update(update).await;
        }
    }

    /// Keeps the lists in force until `stop`. Returns the manager, which knows all drains.
    pub(crate) async fn run(mut self, stop: Shutdown) -> Manager {
        for poller in std::mem::take(&mut self.pollers) {
            let (stop, name) = (stop.clone(), poller.name());
            self.tasks.spawn(name, async move {
                stop.unless_requested(poller.run()).await;
            });
        }
        let mut files = tokio::time::interval(FILES_EVERY);
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        // The first tick of an interval is immediate, and the files were read just now.
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

    /// Reads the saved lists. Returns whether there was a list of bindings.
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

    /// Reads the configured aggregate drains and their files. Returns whether they differ from those in force.
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
        let Update { kind, body, etag } = update;
        let parsing = body.clone();
        let parsed = self.tasks.spawn_blocking("read bindings", move || match kind {
            ListKind::Bindings => Parsed::bindings(&parsing),
            ListKind::Aggregates => Parsed::aggregates(&parsing),
        });
        match parsed.await {
            Ok(Ok(parsed)) => match kind {
                ListKind::Bindings => {
                    self.bindings = parsed;
                    self.revision.clone_from(&etag);
                }
                ListKind::Aggregates => self.aggregates = parsed,
            },
            Ok(Err(error)) => {
                tracing::error!(%error, "the binding cache sent a list that cannot be read; the last one stays in force");
                return;
            }
            Err(_) => return,
        }
        self.apply(kind == ListKind::Bindings);
        self.saved.set(kind, body, etag);
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
