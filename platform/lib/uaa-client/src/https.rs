//! The calls of a UAA, and of external providers, over HTTPS: an answer of any status, or a failure that names the host.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use thiserror::Error;
use url::Url;
use weir_error::{Classify, ErrorKind, chain};
use weir_net::{AnswerLimits, HttpsClient};
use weir_tls::ClientTls;

/// The limits of a call: 20 s in all, and 4 MiB of an answer.
const LIMITS: AnswerLimits = AnswerLimits {
    deadline: Duration::from_secs(20),
    body: 4 << 20,
};

/// A call failed before there was an answer. Shows the host, never what was sent.
#[derive(Debug, Clone, Error)]
#[error("`{host}` cannot be asked: {reason}")]
pub struct HttpsError {
    host: String,
    reason: String,
}

impl Classify for HttpsError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }

    fn retryable(&self) -> bool {
        true
    }

    fn hint(&self) -> Option<String> {
        Some("check the address, and that its certificate is from the CA that is trusted here".to_owned())
    }
}

/// An HTTPS client of any server whose certificate is trusted. Clones share its connection.
#[derive(Debug, Clone)]
pub struct Https(Arc<HttpsClient>);

/// The answer to a request, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

impl Https {
    /// Returns a client that trusts the CA in this file, or those of the system.
    ///
    /// # Errors
    /// When the file cannot be used, or the system trusts no CA.
    pub fn new(ca: Option<&Path>) -> Result<Self, String> {
        let tls = ca.map_or_else(ClientTls::trusting_system, ClientTls::trusting);
        let tls = tls.map_err(|error| chain(&error))?;
        Ok(Self(Arc::new(HttpsClient::new(&tls))))
    }

    /// Makes a request and reads the whole answer.
    ///
    /// # Errors
    /// When there is no answer, or one that is too large.
    pub async fn send(&self, method: Method, url: &Url, headers: HeaderMap, body: Bytes) -> Result<Answer, HttpsError> {
        let failed = |reason: String| HttpsError {
            host: url.host_str().unwrap_or_default().to_owned(),
            reason,
        };
        let request = Request::builder().method(method).uri(url.as_str()).body(body);
        let mut request = request.map_err(|error| failed(error.to_string()))?;
        request.headers_mut().extend(headers);
        let answer = self.0.send(request, LIMITS).await;
        let (head, body) = answer.map_err(|error| failed(error.reason()))?.into_parts();
        Ok(Answer {
            status: head.status,
            body,
        })
    }
}
