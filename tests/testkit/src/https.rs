//! A small HTTPS client: one request a connection.

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

/// How to call.
#[derive(Debug, Clone)]
pub struct Https {
    tls: ClientTls,
    token: Option<String>,
    from: Ipv4Addr,
}

/// What came back.
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
    /// The body as text, whatever it is.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

impl Https {
    /// Calls with this side of TLS, without a token.
    #[must_use]
    pub const fn new(tls: ClientTls) -> Self {
        Self {
            tls,
            token: None,
            from: Ipv4Addr::LOCALHOST,
        }
    }

    /// Calls from this address of the loopback interface.
    #[must_use]
    pub fn calling_from(self, from: Ipv4Addr) -> Self {
        Self { from, ..self }
    }

    /// Calls with this token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// `GET url`.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(&self, url: &str) -> anyhow::Result<Answer> {
        self.call(Method::GET, url, "", "*/*", Bytes::new()).await
    }

    /// `POST url` with a body.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(&self, url: &str, kind: &str, accept: &str, body: impl Into<Bytes>) -> anyhow::Result<Answer> {
        self.call(Method::POST, url, kind, accept, body.into()).await
    }

    /// Any method, with a body.
    ///
    /// # Errors
    /// When there is no answer.
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
