//! A small HTTPS client: one request, one connection, everything bounded. For calls that are rare: to external providers,
//! and from the command line to a UAA.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;
use weir_error::{Classify, ErrorKind};
use weir_tls::{ALPN_HTTP1, ClientTls};

/// How long a call may take in all.
const DEADLINE: Duration = Duration::from_secs(20);

/// Largest answer.
const LARGEST: usize = 4 << 20;

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

/// An HTTPS client. It connects when it is asked for something, and keeps no connection.
#[derive(Clone)]
pub struct Https {
    trust: Trust,
}

#[derive(Clone)]
enum Trust {
    /// A CA of one's own, reloaded when its file changes.
    Files(ClientTls),
    /// Those that the system trusts.
    System(Arc<rustls::ClientConfig>),
}

impl std::fmt::Debug for Https {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Https")
    }
}

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
        let trust = match ca {
            Some(ca) => {
                let tls = ClientTls::trusting(ca).map_err(|error| weir_error::chain(&error))?;
                Trust::Files(tls.with_alpn(&[ALPN_HTTP1]))
            }
            None => Trust::System(Arc::new(system_trust()?)),
        };
        Ok(Self { trust })
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
        match tokio::time::timeout(DEADLINE, self.exchange(method, url, headers, body)).await {
            Ok(result) => result.map_err(failed),
            Err(_) => Err(failed(format!("no answer within {} s", DEADLINE.as_secs()))),
        }
    }

    async fn exchange(&self, method: Method, url: &Url, headers: HeaderMap, body: Bytes) -> Result<Answer, String> {
        if url.scheme() != "https" {
            return Err("the address is not `https`".to_owned());
        }
        let host = url.host().ok_or("the address has no host")?;
        let (dialled, name) = match host {
            url::Host::Domain(name) => (
                name.to_owned(),
                ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?,
            ),
            url::Host::Ipv4(address) => (address.to_string(), ServerName::from(std::net::IpAddr::V4(address))),
            url::Host::Ipv6(address) => (address.to_string(), ServerName::from(std::net::IpAddr::V6(address))),
        };
        let port = url.port_or_known_default().unwrap_or(443);
        let stream = TcpStream::connect((dialled, port))
            .await
            .map_err(|error| error.to_string())?;
        let connector = match &self.trust {
            Trust::Files(tls) => tls.connector(),
            Trust::System(config) => TlsConnector::from(Arc::clone(config)),
        };
        let stream = connector
            .connect(name, stream)
            .await
            .map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, authority)
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        request.headers_mut().extend(headers);
        let answering = async {
            let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let (head, body) = answer.into_parts();
            #[expect(clippy::disallowed_methods, reason = "the body is limited")]
            let body = Limited::new(body, LARGEST)
                .collect()
                .await
                .map_err(|error| error.to_string())?;
            Ok(Answer {
                status: head.status,
                body: body.to_bytes(),
            })
        };
        let mut connection = std::pin::pin!(connection);
        let mut answering = std::pin::pin!(answering);
        // The connection moves only while it is looked at.
        tokio::select! {
            answer = &mut answering => answer,
            ended = &mut connection => match ended {
                // What was read before the end may still be the answer.
                Ok(()) => answering.await,
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

fn system_trust() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err("the system has no CA certificates".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    Ok(config)
}
