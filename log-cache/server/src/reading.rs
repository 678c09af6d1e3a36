//! A read request, as gRPC and REST both mean it (contract §14.2): defaults, limits and the original's error texts.

use regex::Regex;
use tonic::Status;
use weir_envelope::batch::Kind;
use weir_log_cache_store::{Page, ReadQuery, Store};
use weir_proto::logcache_v1::{EnvelopeType, ReadRequest};
use weir_service::clock;

/// Envelopes of a page that does not ask for a number.
const DEFAULT_LIMIT: i64 = 100;

/// Most envelopes of a page, not counting the rest of a run of equal timestamps.
const MAX_LIMIT: i64 = 1000;

/// Largest page, as the original's gRPC servers allow. A client that accepts less refuses the reply itself, with the same
/// code.
const MAX_BYTES: usize = 50 << 20;

/// Longest name filter, and largest compiled one: a regular expression can be made to need gigabytes.
const MAX_FILTER: usize = 4096;
const MAX_COMPILED_FILTER: usize = 1 << 20;

/// Reads a page on a thread that may block.
pub(crate) async fn read(store: &Store, request: ReadRequest) -> Result<Page, Status> {
    let query = query(request)?;
    let store = store.clone();
    tokio::task::spawn_blocking(move || store.read(&query))
        .await
        .map_err(|_| Status::internal("the read failed"))?
        .map_err(|error| Status::resource_exhausted(format!("{error}; ask for a smaller `limit`")))
}

fn query(request: ReadRequest) -> Result<ReadQuery, Status> {
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
        max_bytes: MAX_BYTES,
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
        let query = query(request()).expect("valid");
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
            let status = query(bad).expect_err("refused");
            assert_eq!(status.code(), tonic::Code::Unknown);
            assert!(status.message().starts_with(text), "{}", status.message());
        }
    }
}
