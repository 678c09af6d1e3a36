//! Asks the binding cache for one list, again and again.
//!
//! Our cache keeps a question until something changes (`If-None-Match` with `Prefer: wait`), so that a new binding is in
//! force at once. The original's knows neither tags nor waiting: it is asked every so often, with some jitter.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use weir_net::Backoff;
use weir_service::Tasks;
use weir_tls::{ClientTls, TlsError};

use super::Which;
use super::http::{Answer, CacheClient, CacheError};
use crate::config::Cache;
use crate::metrics::Refreshes;

/// A cache that answers everything at once is not asked more often than this.
const AT_MOST: Duration = Duration::from_millis(100);

/// The first pause after an error.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// A list that is not the last one.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) which: Which,
    pub(super) body: Bytes,
    pub(super) etag: Option<String>,
}

/// See the module.
pub(super) struct Poller {
    client: CacheClient,
    which: Which,
    poll: Duration,
    wait: Duration,
    updates: mpsc::Sender<Update>,
    refreshes: Arc<Refreshes>,
    etag: Option<String>,
    last: Option<Bytes>,
    /// A cache without tags said that there is nothing, once.
    suddenly_empty: bool,
}

impl Poller {
    pub(super) fn new(
        cache: &Cache,
        which: Which,
        updates: mpsc::Sender<Update>,
        refreshes: &Arc<Refreshes>,
        tasks: &Tasks,
    ) -> Result<Self, TlsError> {
        let tls = ClientTls::mutual(&cache.identity)?;
        Ok(Self {
            client: CacheClient::new(&cache.address, &cache.server_name, &tls, tasks),
            which,
            poll: cache.poll,
            wait: cache.wait,
            updates,
            refreshes: Arc::clone(refreshes),
            etag: None,
            last: None,
            suddenly_empty: false,
        })
    }

    /// The list with this tag is in force already.
    pub(super) fn follows(&mut self, etag: Option<String>) {
        self.etag = etag;
    }

    pub(super) const fn which(&self) -> Which {
        self.which
    }

    /// What its task is called.
    pub(super) const fn name(&self) -> &'static str {
        match self.which {
            Which::Bindings => "poll bindings",
            Which::Aggregates => "poll aggregate drains",
        }
    }

    const fn path(&self) -> &'static str {
        match self.which {
            Which::Bindings => "/v2/bindings",
            Which::Aggregates => "/v2/aggregate",
        }
    }

    /// Asks for ever.
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

    /// Asks once; returns whether the cache keeps questions until something changes.
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
            Answer::Unchanged => Ok(wait.is_some_and(|wait| took + Duration::from_millis(500) >= wait)),
            Answer::List { body, etag } => {
                let holds = etag.is_some();
                self.etag.clone_from(&etag);
                if !self.is_believed(&body, holds) {
                    return Ok(false);
                }
                if self.last.as_ref() != Some(&body) {
                    self.last = Some(body.clone());
                    let which = self.which;
                    // The other end is gone only at the end of the agent.
                    drop(self.updates.send(Update { which, body, etag }).await);
                }
                Ok(holds)
            }
        }
    }

    /// The original's cache says that there is nothing until it has asked the cloud controller itself: from a cache without
    /// tags, nothing after something is believed when it is said twice.
    fn is_believed(&mut self, body: &Bytes, tagged: bool) -> bool {
        let is_empty = matches!(body.trim_ascii(), b"[]" | b"null" | b"");
        let suspicious = is_empty && !tagged && self.last.as_ref().is_some_and(|last| last.len() > 4);
        let believed = !suspicious || self.suddenly_empty;
        self.suddenly_empty = suspicious;
        believed
    }
}
