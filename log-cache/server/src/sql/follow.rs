//! Live answers: newline-delimited JSON without an end.
//!
//! Beside rows there are three other lines, each an object with a single key that no column can have: `{"$missed": 12}`
//! where the follower was too slow for that many rows of the table that it may see, `{"$error": …, "$hint": …}` before the answer ends because
//! the query failed on a row or the caller's token ended, and `{"$end": "stopping"}` when the log cache stops.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use http::header;
use serde_json::json;
use weir_auth::Caller;
use weir_error::Classify;
use weir_log_cache_query::{Follower, Format, Live};
use weir_service::Shutdown;

use super::told;

/// The rows of `follower` until it ends, the client goes, its token ends, or `shutdown`.
pub(super) fn respond(follower: Follower, caller: Caller, shutdown: Shutdown) -> Response {
    let headers = [
        (header::CONTENT_TYPE, Format::Ndjson.content_type()),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Body::from_stream(lines(follower, caller, shutdown))).into_response()
}

fn lines(follower: Follower, caller: Caller, shutdown: Shutdown) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let ended = Box::pin(async move { caller.ended().await });
    futures::stream::unfold(Some((follower, ended, shutdown)), async |state| {
        let (mut follower, mut ended, shutdown) = state?;
        let next = tokio::select! {
            biased;
            () = shutdown.requested() => return Some((line(&json!({ "$end": "stopping" })), None)),
            why = &mut ended => {
                let hint = "log in again; `weir token` prints a token of this stack";
                return Some((line(&json!({ "$error": why.to_string(), "$hint": hint })), None));
            }
            next = follower.next() => next?,
        };
        Some(match next {
            Ok(Live::Missed(rows)) => (line(&json!({ "$missed": rows })), Some((follower, ended, shutdown))),
            Ok(Live::Rows(batch)) => match Format::render_lines(&batch) {
                Ok(lines) => (Ok(lines.into()), Some((follower, ended, shutdown))),
                Err(error) => (failed(&error), None),
            },
            Err(error) => (failed(&error), None),
        })
    })
}

/// The line before the end of an answer that failed.
fn failed(error: &dyn Classify) -> Result<Bytes, Infallible> {
    line(&json!({ "$error": told(error), "$hint": error.hint() }))
}

fn line(object: &serde_json::Value) -> Result<Bytes, Infallible> {
    Ok(format!("{object}\n").into())
}

#[cfg(test)]
mod tests {
    use weir_log_cache_query::QueryError;

    use super::*;

    /// What went wrong with the query is told; what is wrong with us is not.
    #[test]
    fn our_faults_are_for_the_log() {
        let text = |error| String::from_utf8(failed(&error).expect("a line").to_vec()).expect("text");
        let invalid = QueryError::Failed {
            message: "division by zero".to_owned(),
        };
        assert_eq!(
            text(invalid),
            "{\"$error\":\"query: division by zero\",\"$hint\":null}\n"
        );
        let ours = QueryError::Internal("assertion failed in StoreScan".to_owned());
        assert_eq!(text(ours), "{\"$error\":\"internal error\",\"$hint\":null}\n");
    }
}
