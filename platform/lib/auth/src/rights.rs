//! What the bearers of tokens may read, asked of UAA: a token says only that there is something to ask for.
//!
//! An answer is good for [`FRESH`]; then it is asked for again when it is needed. One answer is asked for at a time for each
//! bearer, and [`ASKING`] in all. An answer does not count for a token that was issued after it was asked for, so that a new
//! login, or a token that took the place of a revoked one, begins with what is true then.
//!
//! While UAA is away, what it said last stands until the token ends, as the token itself does; who was never asked about is
//! [`Denied::Unavailable`]. What is kept is bounded by [`MOST_BEARERS`] and [`MOST_SOURCES`]; what is given up is asked for
//! again.

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

/// The scope of a token whose bearer may read the sources that UAA names for them.
pub const SOURCES_SCOPE: &str = "logs.read";

/// How long an answer is good for.
const FRESH: Duration = Duration::from_secs(15);

/// How long a request waits for an answer when there is none yet.
const DEADLINE: Duration = Duration::from_secs(10);

/// How long a request waits for a newer answer than the one that is there.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an older answer stands without another attempt after UAA did not answer.
const PAUSE: Duration = Duration::from_secs(5);

/// Questions to UAA at a time.
const ASKING: usize = 16;

/// Requests that wait for an answer at a time.
const WAITING: usize = 512;

/// Bearers whose answers are kept.
const MOST_BEARERS: usize = 10_000;

/// Names of sources that are kept, in all answers. Each takes about a hundred bytes.
const MOST_SOURCES: usize = 500_000;

/// Tokens of one second that are told apart, of one bearer. More of them are asked about again.
const MOST_TOKENS: usize = 16;

/// The sources of one bearer.
type Sources = Arc<HashSet<String, ahash::RandomState>>;

/// Who is asked about: a user with a client, or a client by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bearer {
    /// The claim `user_id`; `None` for a client's own token.
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

/// Whether what the bearer of these claims may read is asked for.
pub(crate) fn is_asked_for(claims: &Claims) -> bool {
    claims.has_scope(SOURCES_SCOPE) && !reads_everything(claims)
}

/// Asks UAA what the bearers of tokens may read, and keeps the answers.
pub struct ByRights {
    issuer: Arc<dyn Issuer>,
    clock: Clock,
    answers: Mutex<Answers>,
    asking: Semaphore,
    waiting: Semaphore,
    away: AtomicBool,
    never: watch::Sender<u64>,
}

/// What UAA said.
#[derive(Default)]
struct Answers {
    by_bearer: HashMap<Bearer, Entry, ahash::RandomState>,
    /// Names in all of them.
    sources: usize,
}

#[derive(Default)]
struct Entry {
    /// Held by whoever asks for this bearer.
    turn: Arc<tokio::sync::Mutex<()>>,
    answer: Option<Answer>,
    /// When UAA did not answer.
    failed: Option<Instant>,
}

#[derive(Clone)]
struct Answer {
    sources: Sources,
    asked: Instant,
    /// The claim `iat` of the newest tokens that it was asked for with.
    newest: i64,
    /// The claim `jti` of these: what else was issued in the same second may be newer than the answer.
    tokens: VecDeque<String>,
}

impl Answer {
    /// Whether it was asked for after a token was issued.
    fn counts_for(&self, claims: &Claims) -> bool {
        match claims.issued_at.cmp(&self.newest) {
            Ordering::Less => true,
            Ordering::Equal => self.tokens.contains(&claims.jti),
            Ordering::Greater => false,
        }
    }
}

impl ByRights {
    /// Nothing is asked until somebody shows a token.
    #[must_use]
    pub fn new(issuer: Arc<dyn Issuer>, clock: Clock) -> Self {
        Self {
            issuer,
            clock,
            answers: Mutex::default(),
            asking: Semaphore::new(ASKING),
            waiting: Semaphore::new(WAITING),
            away: AtomicBool::new(false),
            never: watch::Sender::new(0),
        }
    }

    async fn sources(&self, claims: &Claims) -> Result<Sources, Denied> {
        let bearer = Bearer::of(claims);
        if let Some(sources) = self.good(&bearer, claims) {
            return Ok(sources);
        }
        let older = self.older(&bearer, claims);
        let Ok(_place) = self.waiting.try_acquire() else {
            return older.ok_or(Denied::Unavailable);
        };
        let longest = if older.is_some() { PATIENCE } else { DEADLINE };
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

    /// The answer of UAA, or the one that somebody else got meanwhile.
    async fn ask_in_turn(&self, bearer: &Bearer, claims: &Claims) -> Result<Sources, IssuerError> {
        let turn = {
            let mut answers = self.answers.lock();
            if !answers.by_bearer.contains_key(bearer) {
                answers.make_room(0, self.clock.instant());
            }
            Arc::clone(&answers.by_bearer.entry(bearer.clone()).or_default().turn)
        };
        let _turn = turn.lock().await;
        if let Some(sources) = self.good(bearer, claims) {
            return Ok(sources);
        }
        let _asking = self.asking.acquire().await;
        let asked = self.clock.instant();
        let sources = match self.issuer.rights(bearer).await {
            Ok(sources) => sources,
            // The original has no such answers, and its tokens name the sources themselves.
            Err(IssuerError::Missing { .. }) => Vec::new(),
            Err(error) => {
                if !self.away.swap(true, atomic::Ordering::Relaxed) {
                    tracing::warn!(error = %error, "what callers may read cannot be asked for");
                }
                return Err(error);
            }
        };
        self.away.store(false, atomic::Ordering::Relaxed);
        let sources = sources.into_iter().filter(|source| !source.is_empty()).collect();
        Ok(self.keep(bearer, sources, asked, claims))
    }

    /// An answer that counts for a token, and is new enough, or all that there is for the moment.
    fn good(&self, bearer: &Bearer, claims: &Claims) -> Option<Sources> {
        let now = self.clock.instant();
        let answers = self.answers.lock();
        let entry = answers.by_bearer.get(bearer)?;
        let answer = entry.answer.as_ref().filter(|answer| answer.counts_for(claims))?;
        let recent = |at: Instant, span: Duration| now.saturating_duration_since(at) < span;
        let good = recent(answer.asked, FRESH) || entry.failed.is_some_and(|failed| recent(failed, PAUSE));
        good.then(|| Arc::clone(&answer.sources))
    }

    /// An answer that counts for a token, however old it is.
    fn older(&self, bearer: &Bearer, claims: &Claims) -> Option<Sources> {
        let answers = self.answers.lock();
        let answer = answers.by_bearer.get(bearer)?.answer.as_ref()?;
        answer.counts_for(claims).then(|| Arc::clone(&answer.sources))
    }

    fn failed(&self, bearer: &Bearer) {
        if let Some(entry) = self.answers.lock().by_bearer.get_mut(bearer) {
            entry.failed = Some(self.clock.instant());
        }
    }

    /// Keeps an answer; where it says what the last one said, that one, which callers hold already.
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
    /// Gives up answers that nobody asked for lately, and all of them if that is not enough.
    fn make_room(&mut self, sources: usize, now: Instant) {
        let full = |answers: &Self| {
            answers.by_bearer.len() >= MOST_BEARERS || answers.sources.saturating_add(sources) > MOST_SOURCES
        };
        if !full(self) {
            return;
        }
        self.by_bearer.retain(|_, entry| {
            let answer = entry.answer.as_ref();
            answer.is_some_and(|answer| now.saturating_duration_since(answer.asked) < FRESH)
        });
        self.sources = self.by_bearer.values().map(Entry::len).sum();
        if full(self) {
            self.by_bearer.clear();
            self.sources = 0;
        }
    }
}

impl Entry {
    fn len(&self) -> usize {
        self.answer.as_ref().map_or(0, |answer| answer.sources.len())
    }
}

impl Access for ByRights {
    fn scope<'a>(&'a self, claims: &'a Claims) -> ScopeFuture<'a> {
        Box::pin(async move {
            if is_asked_for(claims) {
                Ok(Scope::Sources(self.sources(claims).await?))
            } else {
                Ok(granted(claims))
            }
        })
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.never.subscribe()
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
