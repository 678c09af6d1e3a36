//! The two tasks that keep keys and revocations up to date.
//!
//! Keys are fetched at the start, twice a minute, and when somebody shows a token with a key that is not known, but not
//! more often than every five seconds. Revocations are read all the time, from an issuer that answers when there are some;
//! every ten seconds from one that answers at once; until all that were there at the start are read, no token counts. What is
//! known is kept while the issuer is away: its tokens stay good until they expire.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_service::{Shutdown, Tasks};

use super::State;
use crate::UaaConfig;
use crate::issuer::{Issuer, IssuerError};

/// Between two fetches of keys, whoever asks for them.
const KEYS_APART: Duration = Duration::from_secs(5);

/// Between two attempts while nothing is known at all: right after the start of a stack, UAA may still be starting.
const FIRST_APART: Duration = Duration::from_millis(500);

/// Between two answers with news.
const APART: Duration = Duration::from_millis(100);

pub(super) fn start(
    state: &Arc<State>,
    issuer: &Arc<dyn Issuer>,
    config: &UaaConfig,
    shutdown: &Shutdown,
    tasks: &Tasks,
) {
    let task = Refresh {
        state: Arc::clone(state),
        issuer: Arc::clone(issuer),
        reachable: Reachable::new("keys"),
    };
    let (interval, until) = (config.keys_interval, shutdown.clone());
    tasks.spawn("uaa keys", async move {
        until.unless_requested(task.keep_keys(interval)).await;
    });
    let task = Refresh {
        state: Arc::clone(state),
        issuer: Arc::clone(issuer),
        reachable: Reachable::new("revocations"),
    };
    let (interval, until) = (config.revocations_interval, shutdown.clone());
    tasks.spawn("uaa revocations", async move {
        until.unless_requested(task.keep_revocations(interval)).await;
    });
    let (state, until) = (Arc::clone(state), shutdown.clone());
    tasks.spawn("access changes", async move {
        let mut changes = state.access().changes();
        while let Some(Ok(())) = until.unless_requested(changes.changed()).await {
            state.changed();
        }
    });
}

struct Refresh {
    state: Arc<State>,
    issuer: Arc<dyn Issuer>,
    reachable: Reachable,
}

impl Refresh {
    async fn keep_keys(mut self, interval: Duration) {
        loop {
            let begun = Instant::now();
            self.state.fetch_begins();
            let fetched = self.issuer.keys().await;
            self.reachable.note(fetched.as_ref().err());
            let good = fetched.is_ok();
            if let Ok(keys) = fetched {
                self.state.put_keys(keys);
            }
            self.state.fetch_ended(good, begun.elapsed());
            if self.state.has_keys() {
                let wanted = async {
                    self.state.wanted.notified().await;
                    tokio::time::sleep_until(begun + KEYS_APART).await;
                };
                // When nobody asks: the next round.
                drop(tokio::time::timeout(interval.max(KEYS_APART), wanted).await);
            } else {
                tokio::time::sleep(FIRST_APART).await;
            }
        }
    }

    async fn keep_revocations(mut self, interval: Duration) {
        loop {
            let begun = Instant::now();
            let asked = self.state.since();
            // What was revoked before is wanted at once, even if it is nothing.
            let wait = if self.state.knows_revocations() {
                interval
            } else {
                Duration::ZERO
            };
            let fetched = self.issuer.revocations(asked, wait).await;
            self.reachable.note(fetched.as_ref().err());
            let (mut news, mut more) = (false, false);
            match fetched {
                Ok(page) => {
                    more = page.more;
                    self.state.take_revocations(page);
                    // An issuer that counts anew is read again at once.
                    news = self.state.since() != asked;
                    if !more {
                        self.state.all_revocations_read();
                    }
                }
                // There will be none to wait for, if it is UAA who says so: a router on the way to one that is not there yet
                // knows of no keys either.
                Err(IssuerError::Missing { .. }) if self.state.has_keys() => self.state.all_revocations_read(),
                Err(_) if !self.state.knows_revocations() => {
                    tokio::time::sleep(FIRST_APART).await;
                    continue;
                }
                Err(_) => {}
            }
            // The issuer waited, or we do.
            let waited = wait.is_zero() || begun.elapsed() >= interval.mul_f32(0.8);
            let at_once = waited || (news && more);
            if !at_once {
                tokio::time::sleep(if news { APART } else { interval }).await;
            }
        }
    }
}

/// Says once that the issuer is away, and once that it is back.
struct Reachable {
    feed: &'static str,
    /// The last failure, if that is how it stands.
    failure: Option<IssuerError>,
}

impl Reachable {
    const fn new(feed: &'static str) -> Self {
        Self { feed, failure: None }
    }

    fn note(&mut self, failure: Option<&IssuerError>) {
        match (&self.failure, failure) {
            (_, Some(IssuerError::Missing { .. })) if self.failure.is_none() => {
                tracing::warn!(
                    feed = self.feed,
                    "UAA has no such feed: revoked tokens count until they expire"
                );
            }
            (None, Some(error)) => {
                tracing::warn!(feed = self.feed, %error, "UAA cannot be read; what is known is kept");
            }
            (Some(_), None) => tracing::info!(feed = self.feed, "UAA can be read again"),
            _ => {}
        }
        self.failure = failure.cloned();
    }
}
