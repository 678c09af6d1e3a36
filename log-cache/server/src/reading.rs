//! A read request, as gRPC and REST both mean it (contract §14.2): defaults, limits and the original's error texts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use regex::Regex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tonic::Status;
use weir_envelope::batch::Kind;
use weir_log_cache_store::{Page, ReadQuery, Store};
use weir_proto::logcache_v1::{EnvelopeType, MetaInfo, MetaResponse, ReadRequest};
use weir_service::clock;

/// Envelopes of a page that does not ask for a number.
const DEFAULT_LIMIT: i64 = 100;

/// Most envelopes of a page, not counting the rest of a run of equal timestamps.
const MAX_LIMIT: i64 = 1000;

/// Largest page by gRPC, as the original's servers allow. A client that accepts less refuses the reply itself, with the
/// same code.
pub(crate) const GRPC_PAGE: usize = 50 << 20;

/// Largest page by REST, where it is written out as JSON and held twice. The CLI halves its limit when it meets this.
pub(crate) const REST_PAGE: usize = 16 << 20;

/// Answers that are made at the same time, pages and lists of sources; what they take is bounded by this.
const ANSWERS: usize = 8;

/// Longest name filter, and largest compiled one: a regular expression can be made to need gigabytes.
const MAX_FILTER: usize = 4096;
const MAX_COMPILED_FILTER: usize = 1 << 20;

/// Reads pages and lists of sources for all faces.
#[derive(Debug)]
pub(crate) struct Reader {
    store: Store,
    permits: Semaphore,
    egress: AtomicU64,
}

/// What was read, and the permit to hold it: to be kept until an answer was made of it.
#[derive(Debug)]
pub(crate) struct Held<'a, T> {
    pub(crate) read: T,
    _permit: SemaphorePermit<'a>,
}

impl Reader {
    pub(crate) fn new(store: Store) -> Arc<Self> {
        Arc::new(Self {
            store,
            permits: Semaphore::new(ANSWERS),
            egress: AtomicU64::new(0),
        })
    }

    /// Reads a page of at most `max_bytes`, on a thread that may block.
    pub(crate) async fn read(&self, request: ReadRequest, max_bytes: usize) -> Result<Held<'_, Page>, Status> {
        let query = query(request, max_bytes)?;
        let permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| Status::unavailable("the log cache is stopping"))?;
        let store = self.store.clone();
        #[expect(clippy::disallowed_methods, reason = "it is waited for at once")]
        let page = tokio::task::spawn_blocking(move || store.read(&query))
            .await
            .map_err(|_| Status::internal("the read failed"))?
            .map_err(|error| Status::resource_exhausted(format!("{error}; ask for a smaller `limit`")))?;
        self.egress.fetch_add(page.len as u64, Ordering::Relaxed);
        Ok(Held {
            read: page,
            _permit: permit,
        })
    }

    /// What there is of each source, found on a thread that may block.
    pub(crate) async fn meta(&self) -> Result<Held<'_, MetaResponse>, Status> {
        let permit = self
            .permits
            .acquire()
            .await
            .map_err(|_| Status::unavailable("the log cache is stopping"))?;
        let store = self.store.clone();
        #[expect(clippy::disallowed_methods, reason = "it is waited for at once")]
        let sources = tokio::task::spawn_blocking(move || store.meta())
            .await
            .map_err(|_| Status::internal("the read failed"))?;
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let infos = sources.into_iter().map(|source| {
            let info = MetaInfo {
                count: number(source.count),
                expired: number(source.expired),
                oldest_timestamp: source.oldest_timestamp,
                newest_timestamp: source.newest_timestamp,
            };
            (source.source_id, info)
        });
        Ok(Held {
            read: MetaResponse { meta: infos.collect() },
            _permit: permit,
        })
    }

    /// From now on nothing can be read.
    #[cfg(test)]
    pub(crate) fn close(&self) {
        self.permits.close();
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
    // The original returns plain errors here, which gRPC calls UNKNOWN.
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
    use weir_log_cache_store::Limits;

    use super::*;

    fn request() -> ReadRequest {
        ReadRequest {
            source_id: "app".to_owned(),
            ..ReadRequest::default()
        }
    }

    /// Whoever has what was read has a place among those who may, until it is dropped.
    #[tokio::test]
    async fn what_is_held_takes_a_place() {
        let reader = Reader::new(Store::new(Limits::default()));
        let page = reader.read(request(), REST_PAGE).await.expect("a page");
        let meta = reader.meta().await.expect("an answer");
        assert_eq!(reader.permits.available_permits(), ANSWERS - 2);
        drop((page, meta));
        assert_eq!(reader.permits.available_permits(), ANSWERS);
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
