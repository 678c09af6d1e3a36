//! Which client asks, and whether it is that client.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use weir_platform_uaa_core::app::App;
use weir_platform_uaa_store::{Client, EMPTY_SECRET, NO_SECRET, secrets};

use crate::http::error::ApiError;
use crate::http::form::{self, Form};

/// A client that asks for something.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) client: Client,
    /// Whether it showed its secret. Otherwise it is public, and may redeem codes with PKCE only.
    pub(crate) proved: bool,
}

/// The client of a request, by `Authorization: Basic` or by the form's `client_id` and `client_secret`. An empty secret
/// is a secret; an absent one is for clients that are public.
pub(crate) async fn client(app: &App, headers: &HeaderMap, form: &Form) -> Result<Asking, ApiError> {
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
            .map(|client| Asking { client, proved: false })
            .ok_or_else(ApiError::invalid_client);
    };
    let mut right = is_secret(app, &id, client.as_ref(), &secret).await?;
    // RFC 6749, 2.3.1: libraries encode both halves as in a form, others do not.
    if !right
        && let Ok(decoded) = form::decode(secret.as_bytes())
        && decoded != secret
    {
        right = is_secret(app, &id, client.as_ref(), &decoded).await?;
    }
    match client {
        Some(client) if right => Ok(Asking { client, proved: true }),
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

/// The client by its id, as it stands there or as libraries encode it.
async fn find(app: &App, id: &str) -> Result<(Option<Client>, String), ApiError> {
    if let Some(client) = app.store.client(id).await? {
        return Ok((Some(client), id.to_owned()));
    }
    match form::decode(id.as_bytes()) {
        Ok(decoded) if decoded != id => Ok((app.store.client(&decoded).await?, decoded)),
        _ => Ok((None, id.to_owned())),
    }
}

/// Whether this is one of the secrets of the client with this id. A wrong one costs at least a hash, whether there is such a
/// client or not, and whether it has a secret that is hashed: otherwise it could be timed which clients there are.
pub(crate) async fn is_secret(app: &App, id: &str, client: Option<&Client>, secret: &str) -> Result<bool, ApiError> {
    let hashes: Vec<&str> = client
        .into_iter()
        .flat_map(|client| [Some(client.secret_hash.as_str()), client.second_hash.as_deref()])
        .flatten()
        .collect();
    let known = |hash: &&str| app.secrets.knows(hash, secret);
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
    // Whoever tries the secrets of one client does not keep the others out.
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

/// `Authorization: Basic …`, if that is what is there.
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

    /// The scheme in any case, an empty secret, colons in the secret; anything else is no client.
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
