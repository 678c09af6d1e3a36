//! REST for clients with a token: the gateway's answers, in the form of the original's CF auth proxy (logging §14.5).
//!
//! ```text
//! GET /api/v1/info                  without a token
//! GET /api/v1/read/<source id>      for callers that may read the source; 404 for all others, as if it did not exist
//! GET /api/v1/meta                  the sources that the caller may read
//! GET /api/v1/query[_range]         501, as PromQL is not supported
//! ```
//!
//! Unlike the original this is not a proxy: it calls the gateway's functions with a source and parameters. There is no
//! second request whose headers could name another caller.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, FromRequestParts, Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, header, request};
use serde::Serialize;
use tonic::{Code, Status};
use weir_auth::{Authorizer, Caller, Denied};
use weir_log_cache_store::SourceMeta;

use crate::caller::{caller, visibility};
use crate::gateway::{self, Failed, Gateway};

/// The state that the handlers share.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) gateway: Gateway,
    pub(crate) authorizer: Arc<dyn Authorizer>,
}

impl FromRef<Proxy> for Gateway {
    fn from_ref(proxy: &Proxy) -> Self {
        proxy.gateway.clone()
    }
}

impl Proxy {
    /// Returns the routes.
    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/api/v1/info", get(gateway::info))
            .route("/api/v1/read/{source_id}", get(read))
            .route("/api/v1/meta", get(meta))
            .route("/api/v1/query", get(query))
            .route("/api/v1/query_range", get(query))
            .fallback(async || (StatusCode::NOT_FOUND, "404 page not found\n"))
            .with_state(self)
    }
}

/// A caller with a valid token.
struct Reader(Caller);

/// The reason why a request is refused.
#[derive(Debug)]
enum Refused {
    /// The token is not valid, or the source must not be read. As in the original, both are answered like a source that
    /// does not exist, with 404 and no body.
    Hidden,
    /// The token cannot be checked now.
    Unknown,
    /// `meta` cannot be answered now. As in the original, the answer is 502 without a body.
    Upstream,
    /// The gateway refused the request.
    Failed(Failed),
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unavailable => Self::Unknown,
            _ => Self::Hidden,
        }
    }
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self::Failed(status.into())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Hidden => StatusCode::NOT_FOUND.into_response(),
            Self::Unknown => Failed::from(Status::unavailable("authorization cannot be checked now")).into_response(),
            Self::Upstream => StatusCode::BAD_GATEWAY.into_response(),
            Self::Failed(failed) => failed.into_response(),
        }
    }
}

impl FromRequestParts<Proxy> for Reader {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut request::Parts, proxy: &Proxy) -> Result<Self, Refused> {
        Ok(Self(caller(&*proxy.authorizer, &parts.headers).await?))
    }
}

async fn read(
    State(proxy): State<Proxy>,
    Reader(caller): Reader,
    Path(source_id): Path<String>,
    RawQuery(parameters): RawQuery,
) -> Result<Response, Refused> {
    if !visibility(&caller).shows(&source_id) {
        return Err(Refused::Hidden);
    }
    Ok(proxy
        .gateway
        .page(caller.id(), source_id, parameters.as_deref().unwrap_or_default())
        .await?)
}

/// Refuses a PromQL query. The token is checked first, as it would be for an answer.
async fn query(Reader(_): Reader) -> Response {
    gateway::query().await
}

async fn meta(State(proxy): State<Proxy>, reader: Result<Reader, Refused>) -> Result<Response, Refused> {
    let Reader(caller) = match reader {
        Ok(reader) => reader,
        // As in the original, `meta` answers each upstream failure with 502, also one of the authorization.
        Err(Refused::Unknown) => return Err(Refused::Upstream),
        Err(refused) => return Err(refused),
    };
    let answer = proxy
        .gateway
        .meta(caller.id(), visibility(&caller), |source| Info::from(source))
        .await;
    let body = answer.map_err(|status| match status.code() {
        Code::ResourceExhausted => Refused::from(status),
        _ => {
            weir_service::limited!(warn, weir_service::EACH_SECOND, error = %status, "meta cannot be answered");
            Refused::Upstream
        }
    })?;
    // The original sets no content type after it has filtered the list, and Go's server then detects text.
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response())
}

/// The numbers of one source in the form of the original's proxy: in camel case, without zeros.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expired: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_timestamp: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    newest_timestamp: Option<String>,
}

impl From<&SourceMeta> for Info {
    fn from(source: &SourceMeta) -> Self {
        let count = |number: u64| (number != 0).then(|| number.to_string());
        let time = |number: i64| (number != 0).then(|| number.to_string());
        Self {
            count: count(source.count),
            expired: count(source.expired),
            oldest_timestamp: time(source.oldest_timestamp),
            newest_timestamp: time(source.newest_timestamp),
        }
    }
}

#[cfg(test)]
mod tests;
