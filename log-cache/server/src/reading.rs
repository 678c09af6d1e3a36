//! A read request, as gRPC and REST both mean it (logging §14.2): defaults, limits and the original's error texts.
//!
//! What is read, and what is made of it, is done on threads that may block, a few at a time, shared out among callers by
//! turns ([`Turns`]): whoever asks for the list of sources on hundreds of connections waits for itself.

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

/// Envelopes of a page that does not ask for a number.
const DEFAULT_LIMIT: i64 = 100;

/// Most envelopes of a page.
const MAX_LIMIT: i64 = 1000;

/// Largest page by gRPC, as the original's servers allow. A client that accepts less refuses the reply itself, with the
/// same code.
pub(crate) const GRPC_PAGE: usize = 50 << 20;

/// Largest page by REST, where it is written out as JSON and held twice. The CLI halves its limit when it meets this.
pub(crate) const REST_PAGE: usize = 16 << 20;

/// Answers that are made at the same time, pages and lists of sources; what they take is bounded by this.
const ANSWERS: usize = 8;

/// Requests that wait for one of those to be done, of all callers.
const WAITING: usize = 1024;

/// Requests that take longer than this have lost their client.
const DEADLINE: Duration = Duration::from_secs(30);

/// Longest name filter, and largest compiled one: a regular expression can be made to need gigabytes.
const MAX_FILTER: usize = 4096;
const MAX_COMPILED_FILTER: usize = 1 << 20;

/// Sources beyond which it is quicker to look at all there are than at each by itself.
const SINGLY: usize = 256;

/// Reads pages and lists of sources for all faces.
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

    /// Reads a page of at most `max_bytes` when it is the turn of `caller`, and makes an answer of it.
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

    /// Finds out what there is of each source that `visibility` shows, when it is the turn of `caller`, and makes an answer
    /// of it. Nothing is looked at that the caller may not see, unless it may see a great deal.
    pub(crate) async fn meta<T: Send + 'static>(
        &self,
        caller: &str,
        visibility: Visibility,
        answer: impl FnOnce(Vec<SourceMeta>) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        self.in_turn(caller, move |store| {
            answer(match &visibility {
                Visibility::Nothing => Vec::new(),
                Visibility::Sources(sources) if sources.len() <= SINGLY => {
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

    /// Does `work` on a thread that may block when it is the turn of `caller`; the turn lasts until it is done, whether
    /// somebody waits for it or not.
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
                let _turn = turn;
                work(&store)
            })
            .await
            .map_err(|_| Status::internal("the read failed"))?
        };
        tokio::time::timeout(DEADLINE, done)
            .await
            .map_err(|_| Status::deadline_exceeded("the read took too long"))?
    }

    /// From now on nothing can be read.
    #[cfg(test)]
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whose turns are taken and waited for.
    #[cfg(test)]
    pub(crate) const fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Envelopes that were read since the start.
    pub(crate) fn egress(&self) -> u64 {
        self.egress.load(Ordering::Relaxed)
    }
}

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
    // The original returns plain errors here, which gRPC calls UNKNOWN; nothing else of ours is.
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
        end: if end_time == 0 { clock::now_nanos() } else { end_time },
        limit: usize::try_from(limit).unwrap_or_default(),
        kinds: envelope_types.into_iter().filter_map(kind).collect(),
        descending,
        name_filter: name_filter as Option<Regex>,
        max_bytes,
    })
}

/// The kind that a number of `EnvelopeType` stands for; `ANY` and unknown ones are ignored.
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

    /// The defaults: a hundred envelopes of any kind, until now.
    #[test]
    fn an_empty_request_means_the_defaults() {
        let query = query(request(), GRPC_PAGE).expect("valid");
        assert_eq!((query.start, query.limit, query.descending), (0, 100, false));
        assert!(query.kinds.is_empty() && query.name_filter.is_none() && query.end > 1_600_000_000_000_000_000);
    }

    /// What the original refuses is refused with its text and code.
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
