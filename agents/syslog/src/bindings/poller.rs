//! Fetches one list from the binding cache, repeatedly.
//!
//! Weir's cache delays its answer until the list changes (`If-None-Match` with `Prefer: wait`), so that a new binding
//! is in force at once. The original's cache supports neither: it is polled at an interval, with some jitter.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use weir_net::Backoff;
use weir_tls::{ClientTls, TlsError};

use super::ListKind;
use super::http::{Answer, CacheClient, CacheError};
use crate::config::Cache;
use crate::metrics::Refreshes;

/// The shortest time between two requests to a cache that answers each of them at once.
const AT_MOST: Duration = Duration::from_millis(100);

/// The pause after the first error. It grows with further ones.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// A list that differs from the last one.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) kind: ListKind,
    pub(super) body: Bytes,
    pub(super) etag: Option<String>,
}

/// The task that fetches one list.
pub(super) struct Poller {
    client: CacheClient,
    kind: ListKind,
    poll: Duration,
    wait: Duration,
    updates: mpsc::Sender<Update>,
    refreshes: Arc<Refreshes>,
    etag: Option<String>,
    last: Option<Bytes>,
    /// Whether a cache without `ETag`s has answered an empty list once, after a list that was not empty.
    suddenly_empty: bool,
}

impl Poller {
    pub(super) fn new(
        cache: &Cache,
        kind: ListKind,
        updates: mpsc::Sender<Update>,
        refreshes: &Arc<Refreshes>,
    ) -> Result<Self, TlsError> {
        let tls = ClientTls::mutual(&cache.identity)?;
        Ok(Self {
            client: CacheClient::new(&cache.address, &cache.server_name, &tls)?,
            kind,
            poll: cache.poll,
            wait: cache.wait,
            updates,
            refreshes: Arc::clone(refreshes),
            etag: None,
            last: None,
            suddenly_empty: false,
        })
    }

    /// Sets the `ETag` of the list that is in force already.
    pub(super) fn follows(&mut self, etag: Option<String>) {
        self.etag = etag;
    }

    pub(super) const fn kind(&self) -> ListKind {
        self.kind
    }

    /// Returns the name of the poller's task.
    pub(super) const fn name(&self) -> &'static str {
        match self.kind {
            ListKind::Bindings => "poll bindings",
            ListKind::Aggregates => "poll aggregate drains",
        }
    }

    const fn path(&self) -> &'static str {
        match self.kind {
            ListKind::Bindings => "/v2/bindings",
            ListKind::Aggregates => "/v2/aggregate",
        }
    }

    /// Fetches the list repeatedly. Never returns.
    pub(super) async fn run(mut self) {
        let mut pause = Backoff::new(FIRST_PAUSE, self.poll.max(FIRST_PAUSE));
        let mut was_there = true;
        loop {
            let asked = Instant::now();
            match self.ask().await {
                Ok(holds) => {
                    was_there = true;
                    pause.reset();
                    if holds {
                        sleep_until(asked + AT_MOST).await;
                    } else {
                        let jitter = self.poll.mul_f64(rand::rng().random_range(0.0..0.2));
                        sleep_until(asked + self.poll + jitter).await;
                    }
                }
                Err(error) => {
                    if was_there {
                        tracing::warn!(%error, "the binding cache gives no list; the last one stays in force");
                    }
                    was_there = false;
                    sleep(pause.next_delay()).await;
                }
            }
        }
    }

    /// Fetches the list once. Returns whether the cache delays its answers until the list changes.
    pub(super) async fn ask(&mut self) -> Result<bool, CacheError> {
        let wait = self
            .etag
            .is_some()
            .then_some(self.wait)
            .filter(|wait| *wait >= Duration::from_secs(1));
        let asked = Instant::now();
        self.refreshes.attempted();
        let answer = self.client.get(self.path(), self.etag.as_deref(), wait).await?;
        let took = asked.elapsed();
        if wait.is_none() {
            self.refreshes.took(took);
        }
        match answer {
            // A cache that answers early does not support waiting. Then it has to be polled.
            Answer::Unchanged => Ok(wait.is_some_and(|wait| took + Duration::from_millis(500) >= wait)),
            Answer::List { body, etag } => {
                let holds = etag.is_some();
                self.etag.clone_from(&etag);
                if !self.is_believed(&body, holds) {
                    return Ok(false);
                }
                if self.last.as_ref() != Some(&body) {
                    self.last = Some(body.clone());
                    let kind = self.kind;
                    // The receiver lives as long as the agent.
                    drop(self.updates.send(Update { kind, body, etag }).await);
                }
                Ok(holds)
            }
        }
    }

    /// Returns whether a list may be used. The original's cache answers an empty list until it has asked the cloud
    /// controller itself. So an empty list from a cache without `ETag`s must come twice before it replaces a list that
    /// is not empty.
    fn is_believed(&mut self, body: &Bytes, tagged: bool) -> bool {
        let is_empty = matches!(body.trim_ascii(), b"[]" | b"null" | b"");
        let suspicious = is_empty && !tagged && self.last.as_ref().is_some_and(|last| last.len() > 4);
        let believed = !suspicious || self.suddenly_empty;
        self.suddenly_empty = suspicious;
        believed
    }
}
