//! Live answers: endless newline-delimited JSON.
//!
//! Beside rows there are three kinds of lines, whose keys no column can have. `{"$missed": 12}` is the number of
//! visible rows that the follower missed because it was too slow. `{"$error": …, "$hint": …}` ends an answer whose
//! query failed, on a row or by an internal error, or whose caller's token ended. `{"$end": "stopping"}` ends it when
//! the log cache stops. Every complete answer ends with one of the last two lines.

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

use super::client_message;

/// Returns the response with the rows of `follower`. It ends when the follower ends, the client goes, the caller's
/// token ends, or `shutdown` is requested.
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
        let (line, more) = to_lines(next);
        Some((line, more.then_some((follower, ended, shutdown))))
    })
}

/// Returns the lines for the next item of a follower, and whether more may come. If there is no item, the store was
/// dropped, and the line says that the log cache is stopping.
fn to_lines(next: Option<Result<Live, QueryError>>) -> (Result<Bytes, Infallible>, bool) {
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

/// Returns the last line of an answer when the log cache stops.
fn stopping() -> Result<Bytes, Infallible> {
    line(&json!({ "$end": "stopping" }))
}

/// Returns the last line of an answer that failed.
fn failed(error: &dyn Classify) -> Result<Bytes, Infallible> {
    line(&json!({ "$error": client_message(error), "$hint": error.hint() }))
}

fn line(object: &serde_json::Value) -> Result<Bytes, Infallible> {
    Ok(format!("{object}\n").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last line of every answer says why it ends.
    #[test]
    fn the_last_line_says_why_an_answer_ends() {
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
            let (line, continues) = to_lines(next);
            assert_eq!((line.expect("a line"), continues), (Bytes::from(expected), more));
        }
    }

    /// An error of the query is shown to the client, and an internal error is hidden.
    #[test]
    fn internal_errors_are_hidden() {
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
