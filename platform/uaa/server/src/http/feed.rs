//! `GET /weir/v1/revocations?since=N[&wait=SECONDS]`: what does not count any more, for those who check tokens themselves.
//!
//! ```text
//! {"revocations": [{"kind": "token", "jti": "…", "before": 1767434000, "until": 1767520402},
//!                  {"kind": "user", "user_id": "…", ["client_id": "…",] "before": …, "until": …},
//!                  {"kind": "client", "client_id": "…", "before": …, "until": …}],
//!  "next": 17, "more": false}
//! ```
//!
//! A token is revoked if it is the one named, or if it is of that user and client and was issued in second `before` or
//! earlier. After `until` no such token is valid anyway. `next` is what to ask with the next time; where it is smaller
//! than `since`, this UAA counts anew and whoever reads begins at 0. With `wait` (or `Prefer: wait=SECONDS`) an answer
//! without news takes up to that long, at most a minute.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use http::HeaderMap;
use serde_json::{Map, Value, json};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_store::{Revocation, What};

use crate::http::form::Form;
use crate::http::{ApiError, check};

/// Longest wait.
const LONGEST: u64 = 60;

pub(crate) async fn revocations(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    check::require_resource(&app, &headers, &Form::default()).await?;
    let query = Form::query(query.as_deref())?;
    let number = |name: &str| match query.filled(name) {
        None => Ok(None),
        Some(text) => text
            .parse::<u64>()
            .map(Some)
            .map_err(|_| ApiError::invalid_request(format!("{name} must be a number"))),
    };
    let since = i64::try_from(number("since")?.unwrap_or(0)).unwrap_or(i64::MAX);
    let wait = number("wait")?
        .or_else(|| preferred(&headers))
        .unwrap_or(0)
        .min(LONGEST);
    wait_for_news(&app, since, Duration::from_secs(wait)).await;
    // The number first: what it counts can be seen by then.
    let last = app.store.last_revocation().await?;
    let (page, more) = app.store.revocations(since).await?;
    let read = page.last().map_or(0, |revocation| revocation.seq);
    let next = if more { read } else { read.max(last) };
    let revocations: Vec<Value> = page.into_iter().map(document).collect();
    Ok(Json(json!({"revocations": revocations, "next": next, "more": more})))
}

/// Until there is something after `since`, at most this long. Shutdown ends it too.
async fn wait_for_news(app: &App, since: i64, longest: Duration) {
    if longest.is_zero() {
        return;
    }
    let Ok(_place) = app.waiting.try_acquire() else {
        // So many wait that this one is answered at once, and asks again.
        return;
    };
    let mut last = app.revoked.watch();
    let news = async { drop(last.wait_for(|last| *last != since).await) };
    let bounded = tokio::time::timeout(longest, news);
    tokio::select! {
        _ = bounded => {}
        () = app.shutdown.requested() => {}
    }
}

fn preferred(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get("prefer")?.to_str().ok()?;
    let wait = value
        .split([',', ';'])
        .find_map(|part| part.trim().strip_prefix("wait="));
    wait?.parse().ok()
}

fn document(revocation: Revocation) -> Value {
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| drop(document.insert(name.to_owned(), value));
    match revocation.what {
        What::Token(jti) => {
            put("kind", "token".into());
            put("jti", jti.into());
        }
        What::User(user) => {
            put("kind", "user".into());
            put("user_id", user.into());
        }
        What::UserOfClient(user, client) => {
            put("kind", "user".into());
            put("user_id", user.into());
            put("client_id", client.into());
        }
        What::Client(client) => {
            put("kind", "client".into());
            put("client_id", client.into());
        }
    }
    put("before", revocation.before.into());
    put("until", revocation.until.into());
    document.into()
}
