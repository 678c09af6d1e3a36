//! Live answers: newline-delimited JSON without an end.
//!
//! Beside rows there are three other lines, each an object with a single key that no column can have: `{"$missed": 12}`
//! where the follower was too slow for that many rows of the table that it may see, `{"$error": …, "$hint": …}` before the
//! answer ends because the query failed, on a row or by a fault of ours, or the caller's token ended, and
//! `{"$end": "stopping"}` when the log cache stops. One of the last two is the last line of every answer: one that ends
//! without was cut off on the way.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use http::header;
use serde_json::json;
use weir_auth::Caller;
use weir_error::Classify;
use weir_log_cache_query::{Follower, Format, Live, QueryError};
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
            () = shutdown.requested() => return Some((stopping(), None)),
            why = &mut ended => {
                let hint = "log in again; `weir token` prints a token of this stack";
                return Some((line(&json!({ "$error": why.to_string(), "$hint": hint })), None));
            }
            next = follower.next() => next,
        };
        let (line, more) = said(next);
        Some((line, more.then_some((follower, ended, shutdown))))
    })
}

/// What a follower said as a line or several, and whether it may say more. That it says nothing any more is said, too: the
/// store is gone then.
fn said(next: Option<Result<Live, QueryError>>) -> (Result<Bytes, Infallible>, bool) {
    let rows = match next {
        Some(Ok(Live::Missed(rows))) => return (line(&json!({ "$missed": rows })), true),
        Some(Ok(Live::Rows(batch))) => Format::render_lines(&batch),
        Some(Err(QueryError::Stopping)) | None => return (stopping(), false),
        Some(Err(error)) => Err(error),
    };
    match rows {
        Ok(lines) => (Ok(lines.into()), true),
        Err(error) => (failed(&error), false),
    }
}

/// The line before the end of an answer whose log cache stops.
fn stopping() -> Result<Bytes, Infallible> {
    line(&json!({ "$end": "stopping" }))
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
    use super::*;

    /// Whatever ends an answer is its last line.
    #[test]
    fn no_answer_ends_without_a_word() {
        for (next, expected, more) in [
            (Some(Ok(Live::Missed(12))), "{\"$missed\":12}\n", true),
            (
                Some(Err(QueryError::Internal("a panic".to_owned()))),
                "{\"$error\":\"internal error\",\"$hint\":null}\n",
                false,
            ),
            (Some(Err(QueryError::Stopping)), "{\"$end\":\"stopping\"}\n", false),
            (None, "{\"$end\":\"stopping\"}\n", false),
        ] {
            let (line, goes_on) = said(next);
            assert_eq!((line.expect("a line"), goes_on), (Bytes::from(expected), more));
        }
    }

    /// What went wrong with the query is told; what is wrong with us is not.
    #[test]
    fn our_faults_are_for_the_log() {
        let text = |error| String::from_utf8(failed(&error).expect("a line").to_vec()).expect("text");
        let invalid = QueryError::Failed {
            message: "division by zero".to_owned(),
        };
        assert_eq!(
            text(invalid),
            "{\"$error\":\"query: division by zero\",\"$hint\":\"divide by `nullif(x, 0)`, which is null where `x` is zero\"}\n"
        );
        let ours = QueryError::Internal("assertion failed in StoreScan".to_owned());
        assert_eq!(text(ours), "{\"$error\":\"internal error\",\"$hint\":null}\n");
    }
}
