//! Authenticates clients by id and secret (RFC 6749 §2.3).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_store::{Client, EMPTY_SECRET, NO_SECRET, secrets};

use crate::http::error::ApiError;
use crate::http::form::{self, Form};

/// The client of a request.
#[derive(Debug)]
pub(crate) struct RequestingClient {
    pub(crate) client: Client,
    /// Whether the client showed its secret. Otherwise it is public, and may only redeem codes with PKCE, and refresh.
    pub(crate) showed_secret: bool,
}

/// Authenticates the client of a request, by `Authorization: Basic` or by `client_id` and `client_secret` of the form. An empty
/// secret is checked like any other; only public clients may have none.
pub(crate) async fn client(app: &App, headers: &HeaderMap, form: &Form) -> Result<RequestingClient, ApiError> {
    let (id, secret) = match basic(headers)? {
        Some((id, secret)) => {
            let other = |name: &str, known: &str| form.get(name).is_some_and(|value| value != known);
            if other("client_id", &id) || other("client_secret", &secret) {
                return Err(ApiError::invalid_request(
                    "The client must be named once: in the header or in the form",
                ));
            }
            (id, Some(secret))
        }
        None => {
            let id = form.filled("client_id").ok_or_else(ApiError::no_client)?;
            (id.to_owned(), form.get("client_secret").map(str::to_owned))
        }
    };
    let (client, id) = find(app, &id).await?;
    let Some(secret) = secret else {
        let client = client.filter(|client| client.detail.allow_public);
        return client
            .map(|client| RequestingClient {
                client,
                showed_secret: false,
            })
            .ok_or_else(ApiError::invalid_client);
    };
    let mut right = is_secret(app, &id, client.as_ref(), &secret).await?;
    // RFC 6749 §2.3.1: both halves are form-encoded. Not all libraries do that, so the plain text is tried first.
    if !right
        && let Ok(decoded) = form::decode(secret.as_bytes())
        && decoded != secret
    {
        right = is_secret(app, &id, client.as_ref(), &decoded).await?;
    }
    match client {
        Some(client) if right => Ok(RequestingClient {
            client,
            showed_secret: true,
        }),
        Some(_) => {
            weir_service::limited!(
                info,
                weir_service::EACH_SECOND,
                client = id,
                "a client with a wrong secret was refused"
            );
            app.metrics.client_refused();
            Err(ApiError::invalid_client())
        }
        None => {
            weir_service::limited!(
                info,
                weir_service::EACH_SECOND,
                "a client that does not exist was refused"
            );
            app.metrics.client_refused();
            Err(ApiError::invalid_client())
        }
    }
}

/// Returns the client with this id, plain or form-encoded, and its plain id.
async fn find(app: &App, id: &str) -> Result<(Option<Client>, String), ApiError> {
    if let Some(client) = app.store.client(id).await? {
        return Ok((Some(client), id.to_owned()));
    }
    match form::decode(id.as_bytes()) {
        Ok(decoded) if decoded != id => Ok((app.store.client(&decoded).await?, decoded)),
        _ => Ok((None, id.to_owned())),
    }
}

/// Whether `secret` is one of the client's secrets.
///
/// A wrong secret always takes a hash, also if there is no such client or its secret is not hashed. Otherwise the time of the
/// answer would tell which clients exist.
pub(crate) async fn is_secret(app: &App, id: &str, client: Option<&Client>, secret: &str) -> Result<bool, ApiError> {
    let hashes: Vec<&str> = client
        .into_iter()
        .flat_map(|client| [Some(client.secret_hash.as_str()), client.second_hash.as_deref()])
        .flatten()
        .collect();
    let known = |hash: &&str| app.secrets.knows(hash, secret);
    // These two need no hash, so they are tried before the queue: most requests of the platform end here.
    let empty = secrets::equal(secret, "") && hashes.contains(&EMPTY_SECRET);
    if empty || hashes.iter().any(known) {
        return Ok(true);
    }
    let mut hashed: Vec<Option<&str>> = hashes
        .into_iter()
        .filter(|hash| !matches!(*hash, EMPTY_SECRET | NO_SECRET))
        .map(Some)
        .collect();
    if hashed.is_empty() {
        hashed.push(None);
    }
    // The limit per client keeps attempts on one client from filling the queue of all clients.
    let turn = app.callers.take(&secrets::digest_of(&["client", id])).await;
    let _turn = turn.ok_or_else(|| ApiError::unavailable(Duration::from_secs(1)))?;
    for hash in hashed {
        if app.hasher.verify_secret(hash, secret).await? {
            if let Some(hash) = hash {
                app.secrets.remember(hash, secret);
            }
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns id and secret of `Authorization: Basic …`, if the request has this header.
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, ApiError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::invalid_request("There are several Authorization headers"));
    }
    let value = value.as_bytes();
    let Some((scheme, rest)) = value.split_at_checked(6) else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return Ok(None);
    }
    let decoded = STANDARD
        .decode(rest.trim_ascii())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.ok_or_else(ApiError::invalid_client)?;
    let (id, secret) = decoded.split_once(':').ok_or_else(ApiError::invalid_client)?;
    Ok(Some((id.to_owned(), secret.to_owned())))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(value: &str) -> Result<Option<(String, String)>, ApiError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        basic(&headers)
    }

    /// The scheme is compared without case, a secret may be empty or have colons, and malformed headers are refused.
    #[test]
    fn reads_basic() {
        let pair = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(read("Basic Y2Y6").unwrap(), pair("cf", ""));
        assert_eq!(read("bAsIc YTpiOmM=").unwrap(), pair("a", "b:c"));
        assert_eq!(read("Bearer x").unwrap(), None);
        assert_eq!(read("x").unwrap(), None);
        assert!(read("Basic Y2Y").is_err(), "no padding");
        assert!(read("Basic Y2Y=").is_err(), "no colon");
        assert!(read("Basic /////w==").is_err(), "no text");
        assert_eq!(basic(&HeaderMap::new()).unwrap(), None);
        let mut twice = HeaderMap::new();
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Basic Y2Y6"));
        twice.append(header::AUTHORIZATION, HeaderValue::from_static("Basic YTpi"));
        assert!(basic(&twice).is_err());
    }
}
