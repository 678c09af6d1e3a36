//! Keeps the lists: it receives those of the sources, checks them and publishes what is usable.
//!
//! It is one task, and sources report to it with [`SourceUpdate`]. If a source cannot be read, its last list stays in
//! force, and the status says since when and why.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use weir_drain::feed::Item;
use weir_service::{Clock, Tasks};

use crate::addresses::Addresses;
use crate::aggregate;
use crate::check::{self, Cause, Checked, Complaint};
use crate::list::{Document, Published, publish};
use crate::metrics::Metrics;
use crate::status::{self, MAX_REFUSED, Refused, Status};

/// How often names are resolved again if no list changes.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(60);

/// A report of one source of bindings to the keeper.
#[derive(Debug)]
pub(crate) struct SourceUpdate {
    pub(crate) source: SourceName,
    /// The whole list, or a text without secrets about why it cannot be read.
    pub(crate) list: Result<Vec<Item>, String>,
}

/// The sources of drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceName {
    CloudController,
    Static,
    Aggregate,
}

impl SourceName {
    const fn as_str(self) -> &'static str {
        match self {
            Self::CloudController => "cloud_controller",
            Self::Static => "static",
            Self::Aggregate => "aggregate",
        }
    }
}

/// The state of a source.
#[derive(Debug)]
struct Source {
    name: SourceName,
    place: String,
    list: Option<Arc<Vec<Item>>>,
    last_read: Option<i64>,
    stale_since: Option<i64>,
    error: Option<String>,
}

/// The outputs of the keeper: the lists of bindings, the complaints about them, and the state of each source.
#[derive(Debug, Clone)]
pub(crate) struct Outputs {
    pub(crate) bindings: Published,
    pub(crate) aggregate: Published,
    pub(crate) complaints: watch::Receiver<Arc<[Complaint]>>,
    pub(crate) status: Arc<Mutex<Status>>,
}

/// The state of the task.
#[derive(Debug)]
pub(crate) struct Keeper {
    sources: Vec<Source>,
    addresses: Addresses,
    metrics: Arc<Metrics>,
    clock: Clock,
    tasks: Tasks,
    bindings: watch::Sender<Option<Arc<Document>>>,
    aggregate: watch::Sender<Option<Arc<Document>>>,
    complaints: watch::Sender<Arc<[Complaint]>>,
    status: Arc<Mutex<Status>>,
}

impl Keeper {
    /// Creates a keeper for these sources. Each comes with its address or path.
    pub(crate) fn new(
        sources: impl IntoIterator<Item = (SourceName, String)>,
        addresses: Addresses,
        metrics: Arc<Metrics>,
        clock: Clock,
        tasks: &Tasks,
    ) -> (Self, Outputs) {
        let (bindings, published_bindings) = watch::channel(None);
        let (aggregate, published_aggregate) = watch::channel(None);
        let (complaints, published_complaints) = watch::channel(Arc::from([]));
        let status = Arc::<Mutex<Status>>::default();
        let sources = sources.into_iter().map(|(name, place)| Source {
            name,
            place,
            list: None,
            last_read: None,
            stale_since: None,
            error: None,
        });
        let keeper = Self {
            sources: sources.collect(),
            addresses,
            metrics,
            clock,
            tasks: tasks.clone(),
            bindings,
            aggregate,
            complaints,
            status: Arc::clone(&status),
        };
        let outputs = Outputs {
            bindings: published_bindings,
            aggregate: published_aggregate,
            complaints: published_complaints,
            status,
        };
        (keeper, outputs)
    }

    /// Runs until no source can report any more.
    pub(crate) async fn run(mut self, mut updates: mpsc::Receiver<SourceUpdate>) {
        self.rebuild().await;
        loop {
            // Addresses change without a change of the lists, so host names are looked up again after a while.
            let again = tokio::time::sleep(LOOK_UP_AGAIN);
            tokio::select! {
                update = updates.recv() => match update {
                    Some(first) => {
                        self.apply(first);
                        // Updates that arrived together are one change, so the lists are checked once.
                        while let Ok(next) = updates.try_recv() {
                            self.apply(next);
                        }
                    }
                    None => return,
                },
                () = again => {}
            }
            self.rebuild().await;
        }
    }

    fn apply(&mut self, update: SourceUpdate) {
        let now = self.clock.now_nanos();
        let Some(source) = self.sources.iter_mut().find(|source| source.name == update.source) else {
            return;
        };
        let name = source.name.as_str();
        match update.list {
            Ok(list) => {
                if let Some(since) = source.stale_since.take() {
                    tracing::info!(
                        source = name,
                        since = rfc3339(since),
                        "a source of drains can be read again"
                    );
                }
                source.error = None;
                source.last_read = Some(now);
                source.list = Some(Arc::new(list));
            }
            Err(error) => {
                self.metrics.refresh_failed();
                // A source is read again and again. Only a new error is logged.
                if source.stale_since.is_none() || source.error.as_ref() != Some(&error) {
                    tracing::warn!(
                        source = name,
                        place = source.place,
                        error,
                        since = rfc3339(source.stale_since.unwrap_or(now)),
                        "a source of drains cannot be read, what was read before stays in force"
                    );
                }
                source.stale_since.get_or_insert(now);
                source.error = Some(error);
            }
        }
    }

    async fn rebuild(&mut self) {
        let aggregate = self.list(SourceName::Aggregate);
        let problems: Vec<_> = aggregate
            .iter()
            .flat_map(|list| list.iter())
            .filter_map(aggregate::problem)
            .collect();
        let usable: Vec<&Item> = aggregate
            .iter()
            .flat_map(|list| list.iter())
            .filter(|item| aggregate::problem(item).is_none())
            .collect();
        // A list is published only when its source was read once. An agent would take an empty list for the removal of
        // all drains.
        if self.is_known(SourceName::Aggregate) {
            self.publish(&self.aggregate, &usable, "aggregate drains");
        }

        let lists: Vec<Arc<Vec<Item>>> = [SourceName::CloudController, SourceName::Static]
            .into_iter()
            .filter_map(|name| self.list(name))
            .collect();
        // Checking a long list would block a worker for too long.
        let checking = self.tasks.spawn_blocking("check drains", move || {
            let lists: Vec<&[Item]> = lists.iter().map(|list| list.as_slice()).collect();
            check::check(&lists)
        });
        // If the check panicked, the task tracker reports it.
        let Ok(checked) = checking.await else { return };
        let names = self.addresses.look_up(checked.hosts()).await;
        let checked = checked.apply(&names);
        if [SourceName::CloudController, SourceName::Static]
            .into_iter()
            .all(|name| self.is_known(name))
        {
            self.publish(&self.bindings, &checked.items, "bindings");
        }
        // After the lists were published, so that the status never names a revision that is not served yet.
        self.report(checked, &problems);
    }

    /// Returns whether a source has been read, or is not configured.
    fn is_known(&self, name: SourceName) -> bool {
        self.sources
            .iter()
            .all(|source| source.name != name || source.list.is_some())
    }

    fn list(&self, name: SourceName) -> Option<Arc<Vec<Item>>> {
        let source = self.sources.iter().find(|source| source.name == name)?;
        source.list.clone()
    }

    fn publish(
        &self,
        current: &watch::Sender<Option<Arc<Document>>>,
        list: &impl serde::Serialize,
        what: &'static str,
    ) {
        match Document::of(list) {
            Ok(document) => {
                let etag = document.etag.clone();
                if publish(current, document) {
                    tracing::info!(what, etag, "a new list is served");
                }
            }
            Err(error) => tracing::error!(%error, what, "a list cannot be written"),
        }
    }

    /// Updates status, metrics and complaints.
    fn report(&self, checked: Checked, aggregate: &[weir_drain::Invalid]) {
        let Checked { items, mut complaints } = checked;
        complaints.sort();
        complaints.dedup();
        let credentials = || items.iter().flat_map(|item| &item.credentials);
        let apps = || {
            credentials()
                .filter_map(|credential| credential.apps.as_deref())
                .flatten()
        };
        let distinct: BTreeSet<&str> = apps().map(|app| app.app_id.as_str()).collect();
        let blocked = complaints
            .iter()
            .filter(|complaint| complaint.cause == Cause::Blocked)
            .count();
        self.metrics
            .refreshed(distinct.len(), complaints.len() + aggregate.len(), blocked);

        let of_apps = complaints.iter().map(|complaint| Refused {
            app: complaint.app.clone(),
            url: complaint.url.clone(),
            text: complaint.text.clone(),
            used: complaint.cause == Cause::Unresolvable,
        });
        let of_all = aggregate.iter().map(|invalid| Refused {
            app: String::new(),
            url: invalid.url_safe.clone(),
            text: invalid.text.clone(),
            used: false,
        });
        let revision = self
            .bindings
            .borrow()
            .as_ref()
            .map(|document| document.etag.trim_matches('"').to_owned());
        let status = Status {
            revision,
            bindings: apps().count(),
            sources: self.sources.iter().map(Source::status).collect(),
            refused: of_all.chain(of_apps).take(MAX_REFUSED).collect(),
            refused_count: complaints.len() + aggregate.len(),
        };
        // The texts of the last status show which problems are new and have to be logged.
        let before = std::mem::replace(&mut *self.status.lock(), status);
        for invalid in aggregate {
            let refused = |refused: &Refused| refused.app.is_empty() && refused.text == invalid.text;
            if !before.refused.iter().any(refused) {
                tracing::warn!(
                    url = invalid.url_safe,
                    reason = invalid.text,
                    "an aggregate drain is not usable"
                );
            }
        }
        // Compared first, so that the task of warnings is not woken by every reading of the sources.
        self.complaints.send_if_modified(|now| {
            let changed = **now != *complaints;
            *now = complaints.into();
            changed
        });
    }
}

impl Source {
    fn status(&self) -> status::Source {
        status::Source {
            name: self.name.as_str().to_owned(),
            place: self.place.clone(),
            drains: self.list.as_ref().map_or(0, |list| list.len()),
            last_read: self.last_read.map(rfc3339),
            stale_since: self.stale_since.map(rfc3339),
            error: self.error.clone(),
        }
    }
}

fn rfc3339(nanos: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(nanos).to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}
