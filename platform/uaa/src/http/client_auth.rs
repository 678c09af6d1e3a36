//! Which client asks, and whether it is that client.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::form::{self, Form};
use crate::secrets;
use crate::store::{Client, EMPTY_SECRET, NO_SECRET};

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
    let Some(client) = client else {
        weir_telemetry::limited!(
            info,
            weir_telemetry::EACH_SECOND,
            "a client that does not exist was refused"
        );
        return Err(ApiError::invalid_client());
    };
    let Some(secret) = secret else {
        return if client.detail.allow_public {
            Ok(Asking { client, proved: false })
        } else {
            Err(ApiError::invalid_client())
        };
    };
    if is_secret(app, &client, &secret).await? {
        return Ok(Asking { client, proved: true });
    }
    // RFC 6749, 2.3.1: libraries encode both halves as in a form, others do not.
    if let Ok(decoded) = form::decode(secret.as_bytes())
        && decoded != secret
        && is_secret(app, &client, &decoded).await?
    {
        return Ok(Asking { client, proved: true });
    }
    weir_telemetry::limited!(
        info,
        weir_telemetry::EACH_SECOND,
        client = id,
        "a client with a wrong secret was refused"
    );
    app.metrics.client_refused();
    Err(ApiError::invalid_client())
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

/// Whether this is one of the client's secrets.
pub(crate) async fn is_secret(app: &App, client: &Client, secret: &str) -> Result<bool, ApiError> {
    let hashes = [Some(&client.secret_hash), client.second_hash.as_ref()];
    if hashes.iter().flatten().any(|hash| app.secrets.knows(hash, secret)) {
        return Ok(true);
    }
    let mut turn = None;
    for hash in hashes.into_iter().flatten() {
        let right = match hash.as_str() {
            EMPTY_SECRET => secrets::equal(secret, ""),
            NO_SECRET => false,
            hash => {
                // Whoever tries the secrets of one client does not keep the others out.
                if turn.is_none() {
                    let name = secrets::digest_of(&["client", &client.id]);
                    let taken = app.turns.take(&name).await;
                    turn = Some(taken.ok_or_else(|| ApiError::unavailable(Duration::from_secs(1)))?);
                }
                let right = app.hasher.verify_secret(hash, secret).await?;
                if right {
                    app.secrets.remember(hash, secret);
                }
                right
            }
        };
        if right {
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
