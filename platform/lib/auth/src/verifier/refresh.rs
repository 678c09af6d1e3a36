//! The tasks that keep keys and revocations up to date.
//!
//! Keys are fetched at the start, twice a minute, and when a token has an unknown key, but not more often than every
//! five seconds. Revocations are read without a pause from an issuer that waits until there are some, and every ten
//! seconds from one that answers at once. No token is accepted until the revocations from before the start are read.
//! Keys and revocations are kept while the issuer is unreachable: its tokens stay valid until they expire.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weir_service::{Shutdown, Tasks};

use super::State;
use crate::UaaConfig;
use crate::issuer::{Issuer, IssuerError};

/// The shortest time between two fetches of keys, even if tokens with unknown keys are shown.
const MIN_KEYS_INTERVAL: Duration = Duration::from_secs(5);

/// The time between two attempts until the first one succeeds. It is short because UAA may still be starting together
/// with this component.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The time between an answer with revocations and the next request, from an issuer that answers at once.
const PAGE_INTERVAL: Duration = Duration::from_millis(100);

/// Starts the tasks, which run until `shutdown` is requested.
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

/// The state of one task.
struct Refresh {
    state: Arc<State>,
    issuer: Arc<dyn Issuer>,
    reachable: Reachable,
}

impl Refresh {
    /// Fetches keys for ever: every `interval`, and earlier where a token needs it.
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
                // An unknown key ends the wait early, but not before the shortest interval: an attacker can invent
                // keys.
                let wanted = async {
                    self.state.wanted.notified().await;
                    tokio::time::sleep_until(begun + MIN_KEYS_INTERVAL).await;
                };
                drop(tokio::time::timeout(interval.max(MIN_KEYS_INTERVAL), wanted).await);
            } else {
                tokio::time::sleep(FIRST_RETRY).await;
            }
        }
    }

    /// Reads revocations for ever.
    async fn keep_revocations(mut self, interval: Duration) {
        loop {
            let begun = Instant::now();
            let asked = self.state.since();
            // The first answer is wanted at once, even if there are no revocations, because no token is accepted until
            // then.
            let wait = if self.state.knows_revocations() {
                interval
            } else {
                Duration::ZERO
            };
            let fetched = self.issuer.revocations(asked, wait).await;
            self.reachable.note(fetched.as_ref().err());
            let (mut changed, mut more) = (false, false);
            match fetched {
                Ok(page) => {
                    more = page.more;
                    self.state.take_revocations(page);
                    // The number has changed too if the issuer counts from the start again, and is then read again at
                    // once.
                    changed = self.state.since() != asked;
                    if !more {
                        self.state.all_revocations_read();
                    }
                }
                // An original UAA has no revocations to wait for. A router in front of a UAA that has not started also
                // answers "not found", but then there are no keys either.
                Err(IssuerError::Missing { .. }) if self.state.has_keys() => self.state.all_revocations_read(),
                Err(_) if !self.state.knows_revocations() => {
                    tokio::time::sleep(FIRST_RETRY).await;
                    continue;
                }
                Err(_) => {}
            }
            // If the issuer has not waited for revocations, this task waits. The factor is 0.8 because an issuer that
            // waits may answer a little before the time.
            let waited = wait.is_zero() || begun.elapsed() >= interval.mul_f32(0.8);
            let at_once = waited || (changed && more);
            if !at_once {
                tokio::time::sleep(if changed { PAGE_INTERVAL } else { interval }).await;
            }
        }
    }
}

/// Logs once that the issuer cannot be reached, and once that it can be reached again.
struct Reachable {
    feed: &'static str,
    /// The failure of the last attempt, if it failed.
    failure: Option<IssuerError>,
}

impl Reachable {
    const fn new(feed: &'static str) -> Self {
        Self { feed, failure: None }
    }

    /// Notes the result of an attempt, and logs a change.
    fn note(&mut self, failure: Option<&IssuerError>) {
        match (&self.failure, failure) {
            (_, Some(IssuerError::Missing { .. })) if self.failure.is_none() => {
                tracing::warn!(
                    feed = self.feed,
                    "UAA has no such feed: revoked tokens are accepted until they expire"
                );
            }
            (None, Some(error)) => {
                tracing::warn!(feed = self.feed, %error, "UAA cannot be read: the last known state is kept");
            }
            (Some(_), None) => tracing::info!(feed = self.feed, "UAA can be read again"),
            _ => {}
        }
        self.failure = failure.cloned();
    }
}
