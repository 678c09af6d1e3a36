//! `GET /weir/v1/revocations?since=N[&wait=SECONDS]`: the feed of revocations, for servers that verify tokens themselves.
//!
//! ```text
//! {"revocations": [{"kind": "token", "jti": "…", "before": 1767434000, "until": 1767520402},
//!                  {"kind": "user", "user_id": "…", ["client_id": "…",] "before": …, "until": …},
//!                  {"kind": "client", "client_id": "…", "before": …, "until": …}],
//!  "next": 17, "more": false}
//! ```
//!
//! A token is revoked if it has the `jti`, or if it belongs to the user and the client and was issued in the second `before` or
//! earlier. After `until`, all these tokens have expired. `next` is the value of `since` for the next request. If it is smaller
//! than `since`, the UAA has a new database, and the reader begins at 0. With `wait` (or `Prefer: wait=SECONDS`), the answer
//! comes when there are revocations after `since`, or after this time, at most one minute.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use http::HeaderMap;
use serde_json::{Map, Value, json};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_store::{Revocation, TokenSet};

use crate::http::form::Form;
use crate::http::{ApiError, check};

/// The longest wait in seconds.
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
    wait_for_revocations(&app, since, Duration::from_secs(wait)).await;
    // The number is read before the rows: all rows up to it are visible by then.
    let last = app.store.last_revocation().await?;
    let (page, more) = app.store.revocations(since).await?;
    let read = page.last().map_or(0, |revocation| revocation.seq);
    let next = if more { read } else { read.max(last) };
    let revocations: Vec<Value> = page.into_iter().map(document).collect();
    Ok(Json(json!({"revocations": revocations, "next": next, "more": more})))
}

/// Waits until there are revocations after `since`, at most for `longest`, and until shutdown is requested.
async fn wait_for_revocations(app: &App, since: i64, longest: Duration) {
    if longest.is_zero() {
        return;
    }
    let Ok(_place) = app.waiting.try_acquire() else {
        // All places are taken. An answer at once lets the reader ask again, and loses nothing.
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
    match revocation.tokens {
        TokenSet::Token(jti) => {
            put("kind", "token".into());
            put("jti", jti.into());
        }
        TokenSet::User(user) => {
            put("kind", "user".into());
            put("user_id", user.into());
        }
        TokenSet::UserOfClient(user, client) => {
            put("kind", "user".into());
            put("user_id", user.into());
            put("client_id", client.into());
        }
        TokenSet::Client(client) => {
            put("kind", "client".into());
            put("client_id", client.into());
        }
    }
    put("before", revocation.before.into());
    put("until", revocation.until.into());
    document.into()
}
