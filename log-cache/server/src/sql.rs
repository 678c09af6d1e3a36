//! SQL over HTTP: `POST /v1/sql`, for callers with a bearer token.
//!
//! ```text
//! POST /v1/sql                                         POST /v1/sql?format=csv&timeout=5s&max_rows=10
//! Content-Type: application/json                       Content-Type: text/plain
//!                                                      Accept: text/csv
//! {"query": "select …", "format": "ndjson",
//!  "timeout": "10s", "max_rows": 1000}                 select …
//! ```
//!
//! The format of the answer is that of the body or the query string, else that of `Accept`, else a table. The headers
//! have the number of rows (`x-weir-rows`), the limit that cut the answer short (`x-weir-truncated: rows` or `bytes`),
//! and all limits (`x-weir-limits`). An error is `{"error": …, "hint": …}`. A table shows the beginning of wide cells,
//! or whole cells with `wide`. If `width` is given, a table with more columns of text is written as `vertical`, with
//! one line for each column.
//!
//! A long answer is written while its client reads it, and the memory that is held for it counts towards the caller's
//! unread answers ([`crate::answers`]). An answer whose connection or HTTP/2 stream breaks off is not complete.
//!
//! With `follow`, the answer is endless: it has the rows that meet the condition as they arrive, one JSON object in
//! each line ([`follow`]).

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header, request as head};
use serde_json::json;
use thiserror::Error;
use weir_auth::{Authorizer, Caller, Denied};
use weir_error::{Classify, ErrorKind};
use weir_log_cache_query::{Engine, EngineLimits, Pieces, Query, QueryError, Rendered};
use weir_log_cache_store::Store;
use weir_net::{BodyError, read_body};
use weir_service::Shutdown;

use crate::answers::{Answers, Unread};
use crate::caller::{caller, visibility};
use crate::{Error, RawSql};

mod follow;
mod request;

use request::{Invalid, Request};

/// The largest body of a request, in bytes. It is larger than the engine's limit for a query, because a JSON string may
/// be longer than its text.
const MAX_BODY: usize = 1 << 20;

/// The greatest size of an answer, in bytes of Arrow arrays.
const MAX_ANSWER: usize = 64 << 20;

/// SQL over HTTP.
#[derive(Debug, Clone)]
pub(crate) struct Sql {
    engine: Engine,
    authorizer: Arc<dyn Authorizer>,
    answers: Arc<Answers>,
    shutdown: Shutdown,
}

impl Sql {
    /// Starts the query engine.
    pub(crate) fn start(
        store: &Store,
        config: &RawSql,
        authorizer: Arc<dyn Authorizer>,
        answers: Arc<Answers>,
        shutdown: Shutdown,
    ) -> Result<Self, Error> {
        let limits = EngineLimits {
            concurrent: config.concurrency,
            memory: config.memory.as_usize(),
            max_rows: config.max_rows,
            default_rows: config.max_rows,
            max_bytes: MAX_ANSWER,
            max_timeout: config.timeout.get(),
            default_timeout: config.timeout.get(),
            ..EngineLimits::default()
        };
        Ok(Self {
            engine: Engine::new(store.clone(), limits)?,
            authorizer,
            answers,
            shutdown,
        })
    }

    /// Returns the routes.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/v1/sql", post(ask).fallback(async || Refused::method()))
            .fallback(async || Refused::path())
            .with_state(self)
    }
}

/// A caller whose token lets it read at least one source. It is checked before the body is read.
struct AuthorizedCaller(Caller);

impl FromRequestParts<Sql> for AuthorizedCaller {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut head::Parts, sql: &Sql) -> Result<Self, Refused> {
        let caller = caller(&*sql.authorizer, &parts.headers).await?;
        if caller.scope().is_empty() {
            return Err(Denied::Forbidden.into());
        }
        Ok(Self(caller))
    }
}

async fn ask(
    State(sql): State<Sql>,
    AuthorizedCaller(caller): AuthorizedCaller,
    RawQuery(parameters): RawQuery,
    headers: HeaderMap,
    request: axum::extract::Request,
) -> Result<Response, Refused> {
    let visibility = visibility(&caller);
    let body = read_body(request.into_body(), MAX_BODY).await?;
    let request = Request::read(&headers, parameters.as_deref().unwrap_or_default(), &body)?;
    let query = Query {
        sql: request.query,
        caller: caller.id().to_owned(),
        visibility,
        timeout: request.timeout,
        max_rows: request.max_rows,
    };
    if request.follow {
        let follower = sql.engine.follow(query).await?;
        return Ok(follow::respond(follower, caller, sql.shutdown));
    }
    let limits = shown_limits(sql.engine.limits(), &query);
    let rendered = sql.engine.render(query, request.format, request.layout).await?;
    answer(rendered, limits, |weight, body| {
        sql.answers.hold_body(caller.id(), weight, body)
    })
}

/// Returns the response for an answer, whose body `hold` makes.
fn answer(
    rendered: Rendered,
    limits: String,
    hold: impl FnOnce(usize, Body) -> Result<Body, Unread>,
) -> Result<Response, Refused> {
    let mut response = (
        [
            (header::CONTENT_TYPE, rendered.format.content_type().to_owned()),
            (
                header::HeaderName::from_static("x-weir-rows"),
                rendered.rows.to_string(),
            ),
            (header::HeaderName::from_static("x-weir-limits"), limits),
        ],
        hold(rendered.weight, body(rendered.first, rendered.rest))?,
    )
        .into_response();
    if let Some(truncated) = rendered.truncated {
        let value = header::HeaderValue::from_static(truncated.as_str());
        response.headers_mut().insert("x-weir-truncated", value);
    }
    Ok(response)
}

/// Returns the body of an answer, of which each piece is written when the one before was read.
fn body(first: Vec<u8>, rest: Option<Pieces>) -> Body {
    let Some(rest) = rest else {
        return Body::from(first);
    };
    let first = Ok::<_, Broken>(Bytes::from(first));
    let rest = stream::try_unfold(Some(rest), async |rest: Option<Pieces>| {
        let Some(pieces) = rest else {
            return Ok(None);
        };
        let (piece, rest) = pieces.next().await.map_err(|error| Broken(client_message(&error)))?;
        Ok(Some((Bytes::from(piece), rest)))
    });
    Body::from_stream(stream::iter([first]).chain(rest))
}

/// The reason why an answer breaks off, which closes the connection.
#[derive(Debug, Error)]
#[error("the answer ends early: {0}")]
struct Broken(String);

/// Returns the limits of a query as text, for the header of its answer.
fn shown_limits(limits: &EngineLimits, query: &Query) -> String {
    let timeout = query.timeout.unwrap_or(limits.default_timeout).min(limits.max_timeout);
    let rows = query.max_rows.unwrap_or(limits.default_rows).min(limits.max_rows);
    format!(
        "timeout={timeout:?}, rows={rows}, bytes={}, memory={}",
        limits.max_bytes, limits.memory
    )
}

/// The error of a request, as its client sees it.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    message: String,
    hint: Option<String>,
}

impl Refused {
    fn new(error: &impl Classify) -> Self {
        Self {
            status: error.kind().http_status(),
            message: client_message(error),
            hint: error.hint(),
        }
    }

    fn path() -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            message: "there is nothing here".to_owned(),
            hint: Some("POST the query to /v1/sql".to_owned()),
        }
    }

    fn method() -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            ..Self::path()
        }
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        Self::new(&error)
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self::new(&denied)
    }
}

impl From<Unread> for Refused {
    fn from(unread: Unread) -> Self {
        Self::new(&unread)
    }
}

impl From<QueryError> for Refused {
    fn from(error: QueryError) -> Self {
        Self::new(&error)
    }
}

impl From<Invalid> for Refused {
    fn from(invalid: Invalid) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: invalid.message,
            hint: invalid.hint,
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = (
            self.status,
            [(header::CONTENT_TYPE, "application/json")],
            format!("{}\n", describe(&self.message, self.hint.as_deref())),
        )
            .into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

/// Returns the text of an error for the client. An internal error is logged, and its text is hidden.
fn client_message(error: &dyn Classify) -> String {
    if error.kind() == ErrorKind::Internal {
        weir_service::limited!(error, weir_service::EACH_SECOND, %error, "a query failed");
        return "internal error".to_owned();
    }
    error.to_string()
}

/// Returns an error as JSON.
fn describe(message: &str, hint: Option<&str>) -> serde_json::Value {
    match hint {
        Some(hint) => json!({ "error": message, "hint": hint }),
        None => json!({ "error": message }),
    }
}

#[cfg(test)]
mod tests;
