//! The rights of bearers, which UAA is asked for. The token says only that there are rights to ask for.
//!
//! An answer is used for [`FRESH_FOR`], and is asked for again after that when it is needed. There is one request at a
//! time for each bearer, and [`MAX_REQUESTS`] in all. An answer is not used for a token that was issued after the
//! answer was asked for. A new login, or a token that replaces a revoked one, therefore begins with current rights.
//!
//! While UAA is unreachable, its last answer is used until the token expires. A bearer that it was never asked about is
//! refused with [`Denied::Unavailable`]. The answers are bounded by [`MOST_BEARERS`] and [`MOST_SOURCES`]; those that
//! are dropped are asked for again.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicBool};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use weir_service::Clock;

use crate::access::{Access, ScopeFuture, granted, reads_everything};
use crate::claims::Claims;
use crate::issuer::{Issuer, IssuerError};
use crate::{Denied, Scope};

/// The scope of a token whose bearer may read the sources that UAA names.
pub const SOURCES_SCOPE: &str = "logs.read";

/// How long an answer is used before it is asked for again.
const FRESH_FOR: Duration = Duration::from_secs(15);

/// How long a caller's request waits for an answer when there is none yet.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long a caller's request waits for a newer answer when there is an older one.
const REFRESH_DEADLINE: Duration = Duration::from_secs(2);

/// How long an older answer is used without another attempt after UAA did not answer.
const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// The largest number of requests to UAA at a time.
const MAX_REQUESTS: usize = 16;

/// The largest number of callers' requests that wait for an answer at a time.
const MAX_WAITING: usize = 512;

/// The largest number of bearers whose answers are kept.
const MOST_BEARERS: usize = 10_000;

/// The largest number of names of sources in all answers together. Each takes about a hundred bytes.
const MOST_SOURCES: usize = 500_000;

/// The largest number of tokens of one bearer, issued in one second, for which an answer is known to be new enough. For
/// more of them, UAA is asked again.
const MOST_TOKENS: usize = 16;

/// The sources of one bearer.
type Sources = Arc<HashSet<String, ahash::RandomState>>;

/// The bearer of a token: a user with a client, or a client by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bearer {
    /// The claim `user_id`. `None` in a token that a client got for itself.
    pub user_id: Option<String>,
    /// The claim `client_id`.
    pub client_id: String,
}

impl Bearer {
    fn of(claims: &Claims) -> Self {
        Self {
            user_id: claims.user_id.clone(),
            client_id: claims.client_id.clone(),
        }
    }
}

/// Whether UAA has to be asked for the rights of a token with these claims.
pub(crate) fn needs_rights(claims: &Claims) -> bool {
    claims.has_scope(SOURCES_SCOPE) && !reads_everything(claims)
}

/// Asks UAA what the bearers of tokens may read, and keeps the answers.
pub struct ByRights {
    issuer: Arc<dyn Issuer>,
    clock: Clock,
    answers: Mutex<Answers>,
    requests: Semaphore,
    waiting: Semaphore,
    /// Whether the last request to UAA failed, so that a failure is logged once.
    unreachable: AtomicBool,
    /// Never changes: new rights are found when they are asked for again.
    changes: watch::Sender<u64>,
}

/// The answers of UAA.
#[derive(Default)]
struct Answers {
    by_bearer: HashMap<Bearer, Entry, ahash::RandomState>,
    /// The number of names of sources in all answers.
    sources: usize,
}

#[derive(Default)]
struct Entry {
    /// Locked by the request that asks UAA about this bearer.
    turn: Arc<tokio::sync::Mutex<()>>,
    answer: Option<Answer>,
    /// When UAA last failed to answer.
    failed: Option<Instant>,
}

/// The rights of one bearer.
#[derive(Clone)]
struct Answer {
    sources: Sources,
    asked: Instant,
    /// The claim `iat` of the newest tokens for which UAA was asked.
    newest: i64,
    /// The claim `jti` of these tokens. Another token of that second may be newer than the answer.
    tokens: VecDeque<String>,
}

impl Answer {
    /// Whether the answer was asked for after a token was issued.
    fn counts_for(&self, claims: &Claims) -> bool {
        match claims.issued_at.cmp(&self.newest) {
            Ordering::Less => true,
            Ordering::Equal => self.tokens.contains(&claims.jti),
            Ordering::Greater => false,
        }
    }
}

impl ByRights {
    /// Rights of `issuer`, which is asked for the first time when a token is checked.
    #[must_use]
    pub fn new(issuer: Arc<dyn Issuer>, clock: Clock) -> Self {
        Self {
            issuer,
            clock,
            answers: Mutex::default(),
            requests: Semaphore::new(MAX_REQUESTS),
            waiting: Semaphore::new(MAX_WAITING),
            unreachable: AtomicBool::new(false),
            changes: watch::Sender::new(0),
        }
    }

    /// The sources that the bearer of these claims may read.
    async fn sources(&self, claims: &Claims) -> Result<Sources, Denied> {
        let bearer = Bearer::of(claims);
        if let Some(sources) = self.current(&bearer, claims) {
            return Ok(sources);
        }
        let older = self.older(&bearer, claims);
        // A crowd of unknown bearers must not pile up while UAA is slow.
        let Ok(_place) = self.waiting.try_acquire() else {
            return older.ok_or(Denied::Unavailable);
        };
        let longest = if older.is_some() { REFRESH_DEADLINE } else { DEADLINE };
        let answer = tokio::time::timeout(longest, self.ask_in_turn(&bearer, claims)).await;
        match (answer, older) {
            (Ok(Ok(sources)), _) => Ok(sources),
            (_, Some(older)) => {
                self.failed(&bearer);
                Ok(older)
            }
            (_, None) => Err(Denied::Unavailable),
        }
    }

    /// Asks UAA, after the other requests about this bearer. Returns the answer of one of those if it is usable.
    async fn ask_in_turn(&self, bearer: &Bearer, claims: &Claims) -> Result<Sources, IssuerError> {
        let turn = {
            let mut answers = self.answers.lock();
            // Room is made for the bearer now, and for its sources when they are known.
            if !answers.by_bearer.contains_key(bearer) {
                answers.make_room(0, self.clock.instant());
            }
            Arc::clone(&answers.by_bearer.entry(bearer.clone()).or_default().turn)
        };
        let _turn = turn.lock().await;
        // The request whose turn was before may have got a usable answer.
        if let Some(sources) = self.current(bearer, claims) {
            return Ok(sources);
        }
        let _request = self.requests.acquire().await;
        // The time is that of the question, not of the answer: what UAA changes in between is not in the answer.
        let asked = self.clock.instant();
        let sources = match self.issuer.rights(bearer).await {
            Ok(sources) => sources,
            // The original cannot be asked for rights, and its tokens name the sources themselves.
            Err(IssuerError::Missing { .. }) => Vec::new(),
            Err(error) => {
                if !self.unreachable.swap(true, atomic::Ordering::Relaxed) {
                    tracing::warn!(error = %error, "UAA cannot be asked for the rights of callers");
                }
                return Err(error);
            }
        };
        self.unreachable.store(false, atomic::Ordering::Relaxed);
        let sources = sources.into_iter().filter(|source| !source.is_empty()).collect();
        Ok(self.keep(bearer, sources, asked, claims))
    }

    /// An answer that is usable for a token without asking UAA: it is new enough, or UAA has failed to answer just now.
    fn current(&self, bearer: &Bearer, claims: &Claims) -> Option<Sources> {
        let now = self.clock.instant();
        let answers = self.answers.lock();
        let entry = answers.by_bearer.get(bearer)?;
        let answer = entry.answer.as_ref().filter(|answer| answer.counts_for(claims))?;
        let recent = |at: Instant, span: Duration| now.saturating_duration_since(at) < span;
        let usable = recent(answer.asked, FRESH_FOR) || entry.failed.is_some_and(|failed| recent(failed, RETRY_PAUSE));
        usable.then(|| Arc::clone(&answer.sources))
    }

    /// An answer for a token, however old it is.
    fn older(&self, bearer: &Bearer, claims: &Claims) -> Option<Sources> {
        let answers = self.answers.lock();
        let answer = answers.by_bearer.get(bearer)?.answer.as_ref()?;
        answer.counts_for(claims).then(|| Arc::clone(&answer.sources))
    }

    /// Notes that UAA did not answer.
    fn failed(&self, bearer: &Bearer) {
        if let Some(entry) = self.answers.lock().by_bearer.get_mut(bearer) {
            entry.failed = Some(self.clock.instant());
        }
    }

    /// Keeps an answer and returns its sources. If they equal those of the last answer, the old list is kept, because
    /// callers hold it already and a comparison of lists is then cheap.
    fn keep(
        &self,
        bearer: &Bearer,
        sources: HashSet<String, ahash::RandomState>,
        asked: Instant,
        claims: &Claims,
    ) -> Sources {
        let mut answers = self.answers.lock();
        let mut entry = answers.by_bearer.remove(bearer).unwrap_or_default();
        let last = entry.answer.take();
        answers.sources -= last.as_ref().map_or(0, |last| last.sources.len());
        // A new answer holds for every token for which the last one held, because it was asked for later.
        let (mut newest, mut tokens) = (i64::MIN, VecDeque::new());
        if let Some(last) = &last {
            (newest, tokens) = (last.newest, last.tokens.clone());
        }
        if claims.issued_at > newest {
            (newest, tokens) = (claims.issued_at, VecDeque::new());
        }
        if claims.issued_at == newest && !tokens.contains(&claims.jti) {
            tokens.push_back(claims.jti.clone());
            if tokens.len() > MOST_TOKENS {
                tokens.pop_front();
            }
        }
        let same = last.map(|last| last.sources).filter(|known| **known == sources);
        let sources = same.unwrap_or_else(|| Arc::new(sources));
        answers.make_room(sources.len(), self.clock.instant());
        answers.sources += sources.len();
        entry.failed = None;
        entry.answer = Some(Answer {
            sources: Arc::clone(&sources),
            asked,
            newest,
            tokens,
        });
        answers.by_bearer.insert(bearer.clone(), entry);
        sources
    }
}

impl Answers {
    /// Makes room for one more bearer with `sources` names: drops the answers that are not fresh, and all of them if
    /// that is not enough.
    fn make_room(&mut self, sources: usize, now: Instant) {
        let full = |answers: &Self| {
            answers.by_bearer.len() >= MOST_BEARERS || answers.sources.saturating_add(sources) > MOST_SOURCES
        };
        if !full(self) {
            return;
        }
        self.by_bearer.retain(|_, entry| {
            let answer = entry.answer.as_ref();
            answer.is_some_and(|answer| now.saturating_duration_since(answer.asked) < FRESH_FOR)
        });
        self.sources = self.by_bearer.values().map(Entry::len).sum();
        if full(self) {
            self.by_bearer.clear();
            self.sources = 0;
        }
    }
}

impl Entry {
    /// The number of names of sources in the answer.
    fn len(&self) -> usize {
        self.answer.as_ref().map_or(0, |answer| answer.sources.len())
    }
}

impl Access for ByRights {
    fn scope<'a>(&'a self, claims: &'a Claims) -> ScopeFuture<'a> {
        Box::pin(async move {
            if needs_rights(claims) {
                Ok(Scope::Sources(self.sources(claims).await?))
            } else {
                Ok(granted(claims))
            }
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl fmt::Debug for ByRights {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ByRights")
            .field("bearers", &self.answers.lock().by_bearer.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
