//! What is asked of UAA before the start: what its tokens have as their issuer, and whether it has a key.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use weir_auth::RawUaa;
use weir_error::{Classify, ErrorKind, chain};
use weir_net::{AnswerLimits, HttpsClient};
use weir_tls::ClientTls;

const LIMITS: AnswerLimits = AnswerLimits {
    deadline: Duration::from_secs(20),
    body: 1 << 20,
};

/// A UAA does not say what it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct UaaError(String);

impl Classify for UaaError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }

    fn retryable(&self) -> bool {
        true
    }

    fn hint(&self) -> Option<String> {
        Some("check `oauth.token_endpoint`, `oauth.port` and `oauth.ca_certs`, and whether UAA runs".to_owned())
    }
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
}

#[derive(Deserialize)]
struct Key {
    #[serde(default)]
    value: String,
}

/// The issuer of a UAA's tokens.
pub(super) async fn issuer(uaa: &RawUaa) -> Result<String, UaaError> {
    let discovery: Discovery = get(uaa, "/.well-known/openid-configuration").await?;
    Ok(discovery.issuer)
}

/// Whether a UAA has a key; the text of the error is the original's.
pub(super) async fn check_key(uaa: &RawUaa) -> Result<(), UaaError> {
    let key: Key = get(uaa, "/token_key").await?;
    if key.value.starts_with("-----BEGIN ") {
        Ok(())
    } else {
        Err(UaaError("public uaa token must be PEM encoded".to_owned()))
    }
}

async fn get<T: DeserializeOwned>(uaa: &RawUaa, path: &str) -> Result<T, UaaError> {
    let tls = ClientTls::trusting(&uaa.ca).map_err(|error| UaaError(chain(&error)))?;
    let request = Request::get(format!("{}{path}", uaa.url)).body(Bytes::new());
    let request = request.map_err(|error| UaaError(error.to_string()))?;
    let answer = HttpsClient::new(&tls).send(request, LIMITS).await;
    let answer = answer.map_err(|error| UaaError(error.reason()))?;
    if answer.status() != StatusCode::OK {
        return Err(UaaError(format!("{path}: it answered {}", answer.status())));
    }
    serde_json::from_slice(answer.body()).map_err(|error| UaaError(format!("{path}: {error}")))
}
