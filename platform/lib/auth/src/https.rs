//! The issuer that is reached over HTTPS.

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

/// How long a request may take, from connecting to the end of its answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// The largest answer, in bytes. A page of revocations is far smaller.
const MAX_BODY: usize = 4 << 20;

/// The largest file of secrets, in bytes.
const MAX_SECRETS: usize = 64 << 10;

/// A UAA that is reached at its address over TLS.
#[derive(Debug)]
pub struct HttpsIssuer {
    url: Uri,
    https: HttpsClient,
    client: Option<(String, PathBuf)>,
}

impl HttpsIssuer {
    /// An issuer that reads the CA now, and connects when it is asked for something.
    ///
    /// # Errors
    /// When the CA cannot be used.
    pub fn new(config: &UaaConfig) -> Result<Self, TlsError> {
        Self::over(config, &ClientTls::trusting(&config.ca)?)
    }

    /// An issuer to which this component shows the certificate of `identity`, if the issuer asks for one. The issuer
    /// keeps connections in reserve for components of its stack.
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

    /// Gets the answer at `path`. It may take `wait` longer than [`DEADLINE`].
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
            // The body is not shown. It comes from a server that may not be a UAA, and goes into logs.
            status => Err(unusable(format!("it answered {status}"))),
        }
    }

    /// The `Authorization` header of the configured client, if there is one. The secret is read each time, so that it
    /// can be changed without a restart.
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
            .map_err(|_| failed("the secret is not text".to_owned()))?;
        // Keeps the secret out of the debug output of headers.
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

/// Reads the secret of client `id`: the whole file, or its entry in a JSON object of secrets by client, as Weir's UAA writes
/// it.
///
/// # Errors
/// Why there is no secret. The text has nothing of the file's content.
pub async fn client_secret(id: &str, file: &Path) -> Result<String, String> {
    let content = tokio::fs::read(file).await.map_err(|error| error.to_string())?;
    if content.len() > MAX_SECRETS {
        return Err("the file is too large".to_owned());
    }
    // A secret is no JSON object, so the content shows which of the two forms the file has.
    if let Ok(mut secrets) = serde_json::from_slice::<HashMap<String, String>>(&content) {
        return secrets
            .remove(id)
            .ok_or_else(|| "the file has no secret of this client".to_owned());
    }
    let text = String::from_utf8(content).map_err(|_| "the file is not text".to_owned())?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

/// The answer of `GET /weir/v1/rights`.
#[derive(serde::Deserialize)]
struct Rights {
    sources: Vec<String>,
}

/// Encodes a text as the value of a query parameter: every byte that could mean something else is escaped.
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
