//! A small HTTPS client with one connection for each request.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use weir_tls::{ALPN_HTTP1, ClientTls, server_name};

use crate::connect_from;
use crate::endpoints::authority;

/// The settings of all requests.
#[derive(Debug, Clone)]
pub struct Https {
    tls: ClientTls,
    token: Option<String>,
    from: Ipv4Addr,
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// Returns the body as text, with replacement characters for what is not UTF-8.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the value of a header, or an empty text if it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

impl Https {
    /// Returns a client with this TLS configuration and no token.
    #[must_use]
    pub const fn new(tls: ClientTls) -> Self {
        Self {
            tls,
            token: None,
            from: Ipv4Addr::LOCALHOST,
        }
    }

    /// Sends requests from `from`, an address of the loopback interface.
    #[must_use]
    pub fn calling_from(self, from: Ipv4Addr) -> Self {
        Self { from, ..self }
    }

    /// Sends this token with every request.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Sends `GET url`.
    ///
    /// # Errors
    /// Fails when there is no answer.
    pub async fn get(&self, url: &str) -> anyhow::Result<Answer> {
        self.call(Method::GET, url, "", "*/*", Bytes::new()).await
    }

    /// Sends `POST url` with a body of the media type `kind`.
    ///
    /// # Errors
    /// Fails when there is no answer.
    pub async fn post(&self, url: &str, kind: &str, accept: &str, body: impl Into<Bytes>) -> anyhow::Result<Answer> {
        self.call(Method::POST, url, kind, accept, body.into()).await
    }

    /// Sends a request of any method with a body of the media type `kind`.
    ///
    /// # Errors
    /// Fails when there is no answer.
    pub async fn send(&self, method: Method, url: &str, kind: &str, body: impl Into<Bytes>) -> anyhow::Result<Answer> {
        self.call(method, url, kind, "application/json", body.into()).await
    }

    async fn call(&self, method: Method, url: &str, kind: &str, accept: &str, body: Bytes) -> anyhow::Result<Answer> {
        let address = authority(url);
        let path = url
            .split_once("://")
            .and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]))
            .unwrap_or("/");
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, address)
            .header(ACCEPT, accept);
        if !kind.is_empty() {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        let socket = address.parse().with_context(|| address.to_owned())?;
        let stream = connect_from(self.from, socket)
            .await
            .with_context(|| address.to_owned())?;
        let connector = self.tls.with_alpn(&[ALPN_HTTP1]).connector();
        let stream = connector.connect(server_name("localhost")?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move { drop(connection.await) });
        let answer = sender.send_request(request.body(Full::new(body))?).await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.into_body().collect().await?.to_bytes();
        connection.abort();
        Ok(Answer { status, headers, body })
    }
}
