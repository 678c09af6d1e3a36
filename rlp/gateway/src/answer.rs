//! Responses that are not streams, with the original's texts, byte for byte (logging §10).

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};

use crate::connection::ConnectionHandle;
use crate::outlet::{Body, Outlet};
use crate::query::Invalid;

/// The reasons for which a request is refused. Their texts are the original's, where it has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nothing is served at this path.
    NoSuchPath,
    /// The token is missing, invalid or not sufficient. Like the original, the answer does not say which.
    NotFound,
    /// Only `GET` is served.
    Method,
    /// The query is not one for a stream.
    Query(Invalid),
    /// The caller has the largest number of streams that it may have.
    TooManyStreamsOfCaller,
    /// The caller's streams have the largest number of selectors that they may have.
    TooManySelectorsOfCaller,
    /// All places are taken, the RLP cannot be reached, or tokens cannot be verified.
    Unavailable,
}

impl Refusal {
    const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NoSuchPath | Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "resource not found"),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "method not allowed",
            ),
            Self::Query(Invalid::Empty) => (StatusCode::BAD_REQUEST, "empty_query", "query cannot be empty"),
            Self::Query(Invalid::NoType) => (
                StatusCode::BAD_REQUEST,
                "missing_envelope_type",
                "query must provide at least one envelope type",
            ),
            Self::Query(Invalid::Malformed) => (StatusCode::BAD_REQUEST, "malformed_query", "query is not readable"),
            Self::Query(Invalid::TooMany) => (
                StatusCode::BAD_REQUEST,
                "too_many_selectors",
                "query asks for too many sources, types and names at once",
            ),
            Self::TooManyStreamsOfCaller => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_streams",
                "there are too many streams of this user or client already",
            ),
            Self::TooManySelectorsOfCaller => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_selectors",
                "the streams of this user or client ask for too many sources, types and names together",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "streaming_unavailable",
                "streaming is temporarily unavailable",
            ),
        }
    }

    /// Returns the response.
    pub(crate) fn answer(self) -> Response<Body> {
        let (status, name, message) = self.parts();
        // Go's encoder ends the object with a line feed, and its `http.Error` adds another.
        let text = match self {
            Self::NoSuchPath => "404 page not found\n".to_owned(),
            _ => format!("{{\"message\":\"{message}\",\"error\":\"{name}\"}}\n\n"),
        };
        let mut response = Response::new(Body::whole(Bytes::from(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        match self {
            Self::Method => drop(headers.insert(ALLOW, HeaderValue::from_static("GET"))),
            Self::Unavailable | Self::TooManyStreamsOfCaller | Self::TooManySelectorsOfCaller => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// Returns the response of a stream, and the outlet for its events.
pub(crate) fn stream(connection: ConnectionHandle) -> (Response<Body>, Outlet) {
    let (outlet, body) = Outlet::new(connection);
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONNECTION, HeaderValue::from_static("keep-alive"));
    (response, outlet)
}
