//! Requests to every public interface of a stack, with one caller's token.

use anyhow::ensure;
use serde_json::Value;
use weir_testkit::{Https, LogCache, Stack};
use weir_tls::ClientTls;

use super::wire;

/// The public interfaces as one caller uses them.
pub(crate) struct Interfaces<'s> {
    stack: &'s Stack,
    tls: ClientTls,
    token: Option<String>,
}

/// A request to one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask<'a> {
    /// The v1 firehose.
    Firehose,
    /// The v1 stream of one app.
    AppStream(&'a str),
    /// v2 server-sent events with this query.
    Gateway(&'a str),
    /// A read of one source from the log cache.
    Read(&'a str),
    /// The list of sources in the log cache.
    Meta,
    /// An SQL query.
    Sql,
}

impl<'s> Interfaces<'s> {
    pub(crate) fn new(stack: &'s Stack, token: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self {
            stack,
            tls: stack.endpoints().trusting()?,
            token: token.map(str::to_owned),
        })
    }

    /// Returns the status of the answer. A stream is closed as soon as it begins.
    pub(crate) async fn status(&self, ask: Ask<'_>) -> anyhow::Result<u16> {
        let begun = |answer: &str| answer.contains("\r\n\r\n");
        Ok(match ask {
            Ask::Firehose => wire::status(&self.websocket("/firehose/walk", begun).await?),
            Ask::AppStream(app) => wire::status(&self.websocket(&format!("/apps/{app}/stream"), begun).await?),
            Ask::Gateway(query) => wire::status(&self.events(query, begun).await?),
            Ask::Read(source) => wire::status(&self.rest(&format!("/api/v1/read/{source}")).await?),
            Ask::Meta => wire::status(&self.rest("/api/v1/meta").await?),
            Ask::Sql => self
                .log_cache()?
                .ask("select 1 as one", "text/csv")
                .await?
                .status
                .as_u16(),
        })
    }

    /// Returns the traffic controller's answer to a WebSocket handshake, up to the point where `enough` returns true.
    pub(crate) async fn websocket(&self, path: &str, enough: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let upgrade = [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        self.get(&self.stack.endpoints().traffic_controller, path, &upgrade, enough)
            .await
    }

    /// Returns the RLP gateway's answer to a query, up to the point where `enough` returns true.
    pub(crate) async fn events(&self, query: &str, enough: impl Fn(&str) -> bool) -> anyhow::Result<String> {
        let path = format!("/v2/read?{query}");
        let accept = [("accept", "text/event-stream")];
        self.get(&self.stack.endpoints().rlp_gateway, &path, &accept, enough)
            .await
    }

    /// Returns the answer of the public REST interface.
    pub(crate) async fn rest(&self, path: &str) -> anyhow::Result<String> {
        self.get(&self.stack.endpoints().log_cache_proxy, path, &[], |_| false)
            .await
    }

    async fn get(
        &self,
        url: &str,
        path: &str,
        headers: &[(&str, &str)],
        enough: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        let mut headers = headers.to_vec();
        if let Some(token) = &self.token {
            headers.push(("authorization", token));
        }
        wire::get(&self.tls, url, path, &headers, enough).await
    }

    /// Returns an SQL client with this caller's token.
    pub(crate) fn log_cache(&self) -> anyhow::Result<LogCache> {
        let https = Https::new(self.tls.clone());
        let https = match &self.token {
            Some(token) => https.with_token(token),
            None => https,
        };
        Ok(LogCache::new(self.stack.endpoints(), https))
    }

    /// Returns the whole answer to a query as text, with any status.
    pub(crate) async fn sql(&self, query: &str) -> anyhow::Result<String> {
        Ok(self.log_cache()?.ask(query, "application/x-ndjson").await?.text())
    }

    /// Returns the rows of a query.
    pub(crate) async fn rows(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        self.log_cache()?.rows(query).await
    }

    /// Sends each request, and compares the status of the answer.
    pub(crate) async fn expect(&self, who: &str, expected: &[(Ask<'_>, u16)]) -> anyhow::Result<()> {
        for (ask, wanted) in expected {
            let got = self.status(*ask).await?;
            ensure!(got == *wanted, "{who}: {ask:?} was answered with {got}, not {wanted}");
        }
        Ok(())
    }
}
