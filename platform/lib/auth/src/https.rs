//! The issuer over HTTPS.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Request, StatusCode, Uri};
use weir_net::{AnswerLimits, HttpsClient};
use weir_tls::{ClientTls, IdentityFiles, TlsError};

use crate::UaaConfig;
use crate::issuer::{Fetched, Issuer, IssuerError};
use crate::keys::Keys;
use crate::revocation::Page;
use crate::rights::Bearer;

/// For a request, from the connection to the end of its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Largest answer. A page of revocations is far smaller.
const MAX_BODY: usize = 4 << 20;

/// Largest file that could hold a secret.
const MAX_SECRETS: usize = 64 << 10;

/// A UAA, reached at its address over TLS.
#[derive(Debug)]
pub struct HttpsIssuer {
    url: Uri,
    https: HttpsClient,
    client: Option<(String, PathBuf)>,
}

impl HttpsIssuer {
    /// Reads the CA; connects when it is asked for something.
    ///
    /// # Errors
    /// When the CA cannot be used.
    pub fn new(config: &UaaConfig) -> Result<Self, TlsError> {
        Self::over(config, &ClientTls::trusting(&config.ca)?)
    }

    /// An issuer that is shown the certificate of `identity` where it asks for one of the stack: it has connections in
    /// reserve for the holder.
    ///
    /// # Errors
    /// When the CA or the identity cannot be used.
    pub fn known_as(identity: &IdentityFiles, config: &UaaConfig) -> Result<Self, TlsError> {
        Self::over(config, &ClientTls::trusting_as(&config.ca, identity)?)
    }

    fn over(config: &UaaConfig, tls: &ClientTls) -> Result<Self, TlsError> {
        Ok(Self {
            url: config.url.clone(),
            https: HttpsClient::of(&config.server_name, tls)?,
            client: config.client.clone(),
        })
    }

    /// Gets what is at `path`, which may take `wait` longer than usual.
    async fn get(&self, path: &str, authorization: Option<HeaderValue>, wait: Duration) -> Result<Bytes, IssuerError> {
        let url = format!("{}{path}", self.url.to_string().trim_end_matches('/'));
        let unusable = |reason: String| IssuerError::Answer {
            url: url.clone(),
            reason,
        };
        let mut request = Request::get(&url)
            .header(ACCEPT, "application/json")
            .body(Bytes::new())
            .map_err(|error| unusable(error.to_string()))?;
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        let limits = AnswerLimits {
            deadline: DEADLINE + wait,
            body: MAX_BODY,
        };
        let answer = self.https.send(request, limits).await;
        let answer = answer.map_err(|error| IssuerError::Unreachable {
            url: url.clone(),
            reason: error.reason(),
        })?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            StatusCode::NOT_FOUND => Err(IssuerError::Missing { url }),
            status => Err(unusable(format!("it answered {status}"))),
        }
    }

    /// The secret is read each time: it may be changed without a restart.
    async fn basic(&self) -> Result<Option<HeaderValue>, IssuerError> {
        let Some((id, file)) = &self.client else {
            return Ok(None);
        };
        let failed = |reason: String| IssuerError::Unreachable {
            url: self.url.to_string(),
            reason: format!("the secret of client `{id}` is not usable: {reason}"),
        };
        let secret = client_secret(id, file).await.map_err(failed)?;
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))))
            .map_err(|_| failed("it is no text".to_owned()))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Reads the secret of client `id`: the whole file, or its entry in a JSON object of secrets by client, as Weir's UAA writes.
///
/// # Errors
/// Why there is no secret, without anything of the file.
pub async fn client_secret(id: &str, file: &Path) -> Result<String, String> {
    let content = tokio::fs::read(file).await.map_err(|error| error.to_string())?;
    if content.len() > MAX_SECRETS {
        return Err("the file is too large".to_owned());
    }
    if let Ok(mut secrets) = serde_json::from_slice::<HashMap<String, String>>(&content) {
        return secrets.remove(id).ok_or_else(|| "it is not in the file".to_owned());
    }
    let text = String::from_utf8(content).map_err(|_| "it is no text".to_owned())?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// An answer of `GET /weir/v1/rights`.
#[derive(serde::Deserialize)]
struct Rights {
    sources: Vec<String>,
}

/// A text as the value of a parameter: what may be meant otherwise is escaped.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
        escaped
    })
}

impl Issuer for HttpsIssuer {
    fn keys(&self) -> Fetched<'_, Keys> {
        Box::pin(async {
            let body = self.get("/token_keys", None, Duration::ZERO).await?;
            Keys::parse(&body).map_err(|error| IssuerError::Answer {
                url: format!("{}token_keys", self.url),
                reason: error.to_string(),
            })
        })
    }

    fn revocations(&self, since: u64, wait: Duration) -> Fetched<'_, Page> {
        Box::pin(async move {
            let authorization = self.basic().await?;
            let path = format!("/weir/v1/revocations?since={since}&wait={}", wait.as_secs());
            let body = self.get(&path, authorization, wait).await?;
            serde_json::from_slice(&body).map_err(|error| IssuerError::Answer {
                url: format!("{}weir/v1/revocations", self.url),
                reason: format!("the revocations are not readable: {error}"),
            })
        })
    }

    fn rights<'a>(&'a self, bearer: &'a Bearer) -> Fetched<'a, Vec<String>> {
        Box::pin(async move {
            let authorization = self.basic().await?;
            let mut path = format!("/weir/v1/rights?client_id={}", escaped(&bearer.client_id));
            if let Some(user) = &bearer.user_id {
                path.push_str("&user_id=");
                path.push_str(&escaped(user));
            }
            let body = self.get(&path, authorization, Duration::ZERO).await?;
            let rights: Rights = serde_json::from_slice(&body).map_err(|error| IssuerError::Answer {
                url: format!("{}weir/v1/rights", self.url),
                reason: format!("the rights are not readable: {error}"),
            })?;
            Ok(rights.sources)
        })
    }
}

#[cfg(test)]
mod tests;
