//! Read requests of gRPC and REST (logging §14.2): defaults, limits and the original's error texts.
//!
//! Reading and encoding run on blocking threads, a few at a time, in turns that are shared out among callers
//! ([`Turns`]). So a caller that asks for the list of sources on hundreds of connections does not delay others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use regex::Regex;
use tonic::Status;
use weir_envelope::batch::Kind;
use weir_flow::Turns;
use weir_log_cache_store::{Page, ReadQuery, SourceMeta, Store, Visibility};
use weir_proto::logcache_v1::{EnvelopeType, ReadRequest};
use weir_service::clock;

/// The number of envelopes of a page if the request has no limit.
const DEFAULT_LIMIT: i64 = 100;

/// The greatest number of envelopes of a page.
const MAX_LIMIT: i64 = 1000;

/// The largest page by gRPC in bytes, as the original's servers allow. A client with a lower limit refuses the reply
/// itself, with the same code.
pub(crate) const GRPC_PAGE: usize = 50 << 20;

/// The largest page by REST, in bytes. It is smaller because the page is also written as JSON, and so is held twice.
/// The CLI halves its limit when a page is refused for its size.
pub(crate) const REST_PAGE: usize = 16 << 20;

/// The number of answers (pages and lists of sources) that are made at a time, which bounds their memory.
const ANSWERS: usize = 8;

/// The number of requests of all callers that may wait.
const WAITING: usize = 1024;

/// The time limit for a request, after which its client has given up.
const DEADLINE: Duration = Duration::from_secs(30);

/// The longest name filter, in bytes.
const MAX_FILTER: usize = 4096;
/// The largest compiled name filter, in bytes. Without a limit, a regular expression can need gigabytes.
const MAX_COMPILED_FILTER: usize = 1 << 20;

/// The number of sources from which on it is faster to read the numbers of all sources than those of each.
const SINGLE_LOOKUPS: usize = 256;

/// Reads pages and lists of sources for gRPC and REST.
#[derive(Debug)]
pub(crate) struct Reader {
    store: Store,
    turns: Turns,
    egress: AtomicU64,
    #[cfg(test)]
    closed: std::sync::atomic::AtomicBool,
}

impl Reader {
    pub(crate) fn new(store: Store) -> Arc<Self> {
        Arc::new(Self {
            store,
            turns: Turns::new(ANSWERS, WAITING),
            egress: AtomicU64::new(0),
            #[cfg(test)]
            closed: false.into(),
        })
    }

    /// Reads a page of at most `max_bytes` when it is the turn of `caller`, and encodes it with `answer`.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        caller: &str,
        request: ReadRequest,
        max_bytes: usize,
        answer: impl FnOnce(Page) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let query = query(request, max_bytes)?;
        let (read, answer) = self
            .in_turn(caller, move |store| {
                let page = store
                    .read(&query)
                    .map_err(|error| Status::resource_exhausted(format!("{error}; ask for a smaller `limit`")))?;
                Ok((page.len as u64, answer(page)?))
            })
            .await?;
        self.egress.fetch_add(read, Ordering::Relaxed);
        Ok(answer)
    }

    /// Reads the numbers of each source in `visibility` when it is the turn of `caller`, and encodes them with
    /// `answer`.
    ///
    /// For a caller with few sources, only these are read, so that the time does not depend on the number of others.
    pub(crate) async fn meta<T: Send + 'static>(
        &self,
        caller: &str,
        visibility: Visibility,
        answer: impl FnOnce(Vec<SourceMeta>) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        self.in_turn(caller, move |store| {
            answer(match &visibility {
                Visibility::Nothing => Vec::new(),
                Visibility::Sources(sources) if sources.len() <= SINGLE_LOOKUPS => {
                    sources.iter().filter_map(|source| store.meta_of(source)).collect()
                }
                Visibility::Sources(_) | Visibility::All => {
                    let mut all = store.meta();
                    all.retain(|meta| visibility.shows(&meta.source_id));
                    all
                }
            })
        })
        .await
    }

    /// Runs `work` on a blocking thread when it is the turn of `caller`. The turn lasts until the work is done, even if
    /// the caller has gone.
    async fn in_turn<T: Send + 'static>(
        &self,
        caller: &str,
        work: impl FnOnce(&Store) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        #[cfg(test)]
        if self.closed.load(Ordering::Relaxed) {
            return Err(Status::unavailable("the log cache is stopping"));
        }
        let store = self.store.clone();
        let done = async {
            let turn = self.turns.take(caller).await;
            let turn = turn.map_err(|busy| Status::resource_exhausted(format!("{busy}; try again in a moment")))?;
            #[expect(clippy::disallowed_methods, reason = "it is waited for at once")]
            tokio::task::spawn_blocking(move || {
                // Held by the thread: if the caller goes away, the turn still lasts until the work is done.
                let _turn = turn;
                work(&store)
            })
            .await
            .map_err(|_| Status::internal("the read failed"))?
        };
        // The wait for the turn counts too: the client waits from the beginning.
        tokio::time::timeout(DEADLINE, done)
            .await
            .map_err(|_| Status::deadline_exceeded("the read took too long"))?
    }

    /// Makes every later read fail.
    #[cfg(test)]
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// The turns of all callers.
    #[cfg(test)]
    pub(crate) const fn turns(&self) -> &Turns {
        &self.turns
    }

    /// The number of envelopes that were read since the start.
    pub(crate) fn egress(&self) -> u64 {
        self.egress.load(Ordering::Relaxed)
    }
}

/// Checks a request, and returns the query for the store.
fn query(request: ReadRequest, max_bytes: usize) -> Result<ReadQuery, Status> {
    let ReadRequest {
        source_id,
        start_time,
        end_time,
        limit,
        envelope_types,
        descending,
        name_filter,
    } = request;
    // The original returns plain Go errors here, which gRPC reports as UNKNOWN. No other error has that code.
    if end_time != 0 && start_time > end_time {
        return Err(Status::unknown(format!(
            "StartTime ({start_time}) must be before EndTime ({end_time})"
        )));
    }
    if limit > MAX_LIMIT {
        return Err(Status::unknown(format!("Limit ({limit}) must be {MAX_LIMIT} or less")));
    }
    if limit < 0 {
        return Err(Status::unknown(format!("Limit ({limit}) must be greater than zero")));
    }
    let limit = if limit == 0 { DEFAULT_LIMIT } else { limit };
    let name_filter = match name_filter.as_str() {
        "" => None,
        filter if filter.len() > MAX_FILTER => {
            return Err(Status::unknown(format!(
                "Name filter is longer than {MAX_FILTER} bytes"
            )));
        }
        filter => Some(
            regex::RegexBuilder::new(filter)
                .size_limit(MAX_COMPILED_FILTER)
                .build()
                .map_err(|error| Status::unknown(format!("Name filter must be a valid regular expression: {error}")))?,
        ),
    };
    Ok(ReadQuery {
        source_id,
        start: start_time,
        // As in the original, a request without an end gets no envelopes from the future.
        end: if end_time == 0 { clock::now_nanos() } else { end_time },
        limit: usize::try_from(limit).unwrap_or_default(),
        kinds: envelope_types.into_iter().filter_map(kind).collect(),
        descending,
        name_filter: name_filter as Option<Regex>,
        max_bytes,
    })
}

/// Returns the kind for a number of `EnvelopeType`. `ANY` and unknown numbers are ignored.
fn kind(number: i32) -> Option<Kind> {
    match EnvelopeType::try_from(number).ok()? {
        EnvelopeType::Any => None,
        EnvelopeType::Log => Some(Kind::Log),
        EnvelopeType::Counter => Some(Kind::Counter),
        EnvelopeType::Gauge => Some(Kind::Gauge),
        EnvelopeType::Timer => Some(Kind::Timer),
        EnvelopeType::Event => Some(Kind::Event),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ReadRequest {
        ReadRequest {
            source_id: "app".to_owned(),
            ..ReadRequest::default()
        }
    }

    /// An empty request asks for a hundred envelopes of any kind, up to now.
    #[test]
    fn an_empty_request_has_the_defaults() {
        let query = query(request(), GRPC_PAGE).expect("valid");
        assert_eq!((query.start, query.limit, query.descending), (0, 100, false));
        assert!(query.kinds.is_empty() && query.name_filter.is_none() && query.end > 1_600_000_000_000_000_000);
    }

    /// Requests that the original refuses are refused with its text and code.
    #[test]
    fn limits_are_the_originals() {
        for (bad, text) in [
            (
                ReadRequest {
                    limit: 1001,
                    ..request()
                },
                "Limit (1001) must be 1000 or less",
            ),
            (
                ReadRequest { limit: -1, ..request() },
                "Limit (-1) must be greater than zero",
            ),
            (
                ReadRequest {
                    start_time: 2,
                    end_time: 1,
                    ..request()
                },
                "StartTime (2) must be before EndTime (1)",
            ),
            (
                ReadRequest {
                    name_filter: "(".to_owned(),
                    ..request()
                },
                "Name filter must be a valid",
            ),
        ] {
            let status = query(bad, GRPC_PAGE).expect_err("refused");
            assert_eq!(status.code(), tonic::Code::Unknown);
            assert!(status.message().starts_with(text), "{}", status.message());
        }
    }
}
