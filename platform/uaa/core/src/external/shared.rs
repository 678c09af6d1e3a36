//! A cached document of a provider that many requests want at the same time.
//!
//! Requests that arrive during a fetch wait for that fetch. It goes on if the request that began it is cancelled, as long as
//! one other request waits. A failure is kept for 5 s, so that a provider which does not answer is not asked by every request.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, WeakShared};
use parking_lot::Mutex;
use weir_service::Clock;

use super::provider::ProviderError;

/// How long a failure is returned without a new attempt.
const FAILURE_AGE: Duration = Duration::from_secs(5);

type Outcome<T> = Result<T, ProviderError>;

/// A cached document.
pub(super) struct Shared<T> {
    clock: Clock,
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    known: Option<(T, Instant)>,
    failed: Option<(ProviderError, Instant)>,
    /// The fetch that is under way. The weak reference lets it end when no request waits for it.
    running: Option<WeakShared<BoxFuture<'static, Outcome<T>>>>,
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Shared")
    }
}

impl<T: Clone + Send + Sync + 'static> Shared<T> {
    pub(super) fn new(clock: Clock) -> Self {
        let state = State {
            known: None,
            failed: None,
            running: None,
        };
        Self {
            clock,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Returns the cached document if `fresh` accepts it and its age, and else the result of `fetch`.
    ///
    /// Cancel safe: other waiting calls keep the fetch running.
    pub(super) async fn get(
        &self,
        fresh: impl Fn(&T, Duration) -> bool,
        fetch: impl Future<Output = Outcome<T>> + Send + 'static,
    ) -> Outcome<T> {
        let running = {
            let mut state = self.state.lock();
            let age = |since: Instant| self.clock.instant().saturating_duration_since(since);
            if let Some((known, since)) = &state.known
                && fresh(known, age(*since))
            {
                return Ok(known.clone());
            }
            if let Some((error, since)) = &state.failed
                && age(*since) < FAILURE_AGE
            {
                return Err(error.clone());
            }
            let running = state.running.as_ref().and_then(WeakShared::upgrade);
            match running {
                Some(running) => running,
                None => {
                    let running = self.recording(fetch).boxed().shared();
                    state.running = running.downgrade();
                    running
                }
            }
        };
        running.await
    }

    /// Returns a future that runs `fetch` and keeps its result.
    fn recording<F>(&self, fetch: F) -> impl Future<Output = Outcome<T>> + Send + use<T, F>
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let (clock, state) = (self.clock.clone(), Arc::clone(&self.state));
        async move {
            let outcome = fetch.await;
            let mut state = state.lock();
            state.running = None;
            match &outcome {
                Ok(known) => {
                    state.known = Some((known.clone(), clock.instant()));
                    state.failed = None;
                }
                Err(error) => state.failed = Some((error.clone(), clock.instant())),
            }
            outcome
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::join_all;
    use tokio::sync::oneshot;

    use super::*;

    fn failure() -> ProviderError {
        ProviderError::Answer("no".to_owned())
    }

    /// Simultaneous calls share one fetch, and its result or failure is kept for its time.
    #[tokio::test]
    async fn one_attempt_at_a_time() {
        let (hands, clock) = Clock::manual(0);
        let shared: Shared<u32> = Shared::new(clock);
        let attempts = Arc::new(AtomicUsize::new(0));
        let fetch = |outcome: Outcome<u32>| {
            let attempts = Arc::clone(&attempts);
            async move {
                attempts.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                outcome
            }
        };
        let minute = |_: &u32, age: Duration| age < Duration::from_secs(60);
        let all = join_all((0..5).map(|_| shared.get(minute, fetch(Err(failure()))))).await;
        assert!(all.iter().all(Result::is_err));
        assert!(shared.get(minute, fetch(Ok(1))).await.is_err(), "the failure is kept");
        assert_eq!(attempts.load(Ordering::Relaxed), 1);
        hands.advance(FAILURE_AGE);
        let all = join_all((0..5).map(|number| shared.get(minute, fetch(Ok(number))))).await;
        assert!(all.iter().all(|outcome| matches!(outcome, Ok(0))));
        assert_eq!(attempts.load(Ordering::Relaxed), 2);
        // A later failure does not remove a document that is still fresh.
        assert!(shared.get(|_, _| false, fetch(Err(failure()))).await.is_err());
        assert!(matches!(shared.get(minute, fetch(Ok(9))).await, Ok(0)));
        hands.advance(Duration::from_secs(60));
        assert!(matches!(shared.get(minute, fetch(Ok(9))).await, Ok(9)));
        assert_eq!(attempts.load(Ordering::Relaxed), 4);
    }

    /// A fetch goes on if the call that began it is dropped, and ends when no call waits.
    #[tokio::test]
    async fn a_fetch_outlives_the_call_that_began_it() {
        let (_hands, clock) = Clock::manual(0);
        let shared: Shared<u32> = Shared::new(clock);
        let never = |_: &u32, _: Duration| false;
        let (answer, asked) = oneshot::channel();
        let mut first = Box::pin(shared.get(never, async move { asked.await.map_err(|_| failure()) }));
        assert!(first.as_mut().now_or_never().is_none());
        let mut second = Box::pin(shared.get(never, async { Ok(2) }));
        assert!(second.as_mut().now_or_never().is_none());
        drop(first);
        answer.send(1).unwrap();
        assert!(matches!(second.await, Ok(1)));
        let mut third = Box::pin(shared.get(never, futures::future::pending()));
        assert!(third.as_mut().now_or_never().is_none());
        drop(third);
        assert!(matches!(shared.get(never, async { Ok(4) }).await, Ok(4)));
    }
}
