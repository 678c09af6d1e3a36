//! `POST /check_token` and `POST /introspect` (RFC 7662): the claims of a token, for callers with `uaa.resource`.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Map, Value, json};
use weir_jose::Flaw;
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_store::scopes;

use crate::http::error::token_refused;
use crate::http::form::Form;
use crate::http::unread::UnreadBody;
use crate::http::{ApiError, bearer, client_auth};

/// The scope or authority that a caller must have.
const RESOURCE: &str = "uaa.resource";

pub(crate) async fn check_token(
    State(app): State<App>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Response, ApiError> {
    let form = permitted(&app, &headers, body).await?;
    let token = asked(&form)?;
    let (claims, whole) = match bearer::verify(&app, token).await {
        Ok(verified) => verified,
        Err(flaw) => return Err(ApiError::bad_request("invalid_token", token_refused(flaw))),
    };
    let wanted = scopes::parse(form.filled("scopes").unwrap_or_default());
    if let Some(missing) = wanted.iter().find(|scope| !claims.scope.contains(scope)) {
        return Err(ApiError::bad_request(
            "invalid_scope",
            format!("Some requested scopes are missing: {}", super::error::excerpt(missing)),
        ));
    }
    Ok(uncached(whole))
}

pub(crate) async fn introspect(
    State(app): State<App>,
    headers: HeaderMap,
    body: UnreadBody,
) -> Result<Response, ApiError> {
    let form = permitted(&app, &headers, body).await?;
    let token = asked(&form)?;
    match bearer::verify(&app, token).await {
        Ok((claims, mut whole)) => {
            whole.insert("active".to_owned(), true.into());
            // RFC 7662 §2.2 names these members; clients of the original read the claims of the token.
            whole.insert("token_type".to_owned(), "bearer".into());
            if let Some(name) = whole.get("user_name").cloned() {
                whole.insert("username".to_owned(), name);
            }
            debug_assert!(!claims.jti.is_empty());
            Ok(uncached(whole))
        }
        Err(_) => Ok(uncached(Map::from_iter([("active".to_owned(), false.into())]))),
    }
}

/// Returns the form of a caller that may ask. A caller with a token is checked before the body is read.
async fn permitted(app: &App, headers: &HeaderMap, body: UnreadBody) -> Result<Form, ApiError> {
    if bearer::token(headers)?.is_some() {
        require_resource(app, headers, &Form::default()).await?;
        return Form::posted(headers, body).await;
    }
    let form = Form::posted(headers, body).await?;
    require_resource(app, headers, &form).await?;
    Ok(form)
}

/// Returns the token that is to be checked.
fn asked(form: &Form) -> Result<&str, ApiError> {
    form.filled("token")
        .ok_or_else(|| ApiError::bad_request("invalid_token", token_refused(Flaw::Parts)))
}

/// Refuses callers without `uaa.resource`: as the authority of a client that showed its secret, or as a scope of a token.
pub(crate) async fn require_resource(app: &App, headers: &HeaderMap, form: &Form) -> Result<(), ApiError> {
    if bearer::token(headers)?.is_some() {
        bearer::caller_with(app, headers, &[RESOURCE]).await?;
        return Ok(());
    }
    let requester = client_auth::client(app, headers, form).await?;
    let authorities = &requester.client.detail.authorities;
    if requester.showed_secret
        && authorities
            .iter()
            .any(|known| known == RESOURCE || known == "uaa.admin")
    {
        Ok(())
    } else {
        Err(ApiError::insufficient_scope(&[RESOURCE]))
    }
}

fn uncached(claims: Map<String, Value>) -> Response {
    let mut response = Json(json!(claims)).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
