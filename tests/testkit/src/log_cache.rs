//! A client of the log cache: SQL over HTTPS, reads over gRPC.

use anyhow::{Context as _, ensure};
use serde_json::Value;
use weir_proto::logcache_v1::egress_client::EgressClient;
use weir_proto::logcache_v1::{EnvelopeType, ReadRequest};
use weir_proto::loggregator_v2::envelope::Message;

use crate::{Answer, Endpoints, Https, Received, Sent, connect};

/// The largest number of envelopes in the answer to one read.
const PAGE: i64 = 1000;

/// A client of a stack's log cache.
#[derive(Debug, Clone)]
pub struct LogCache {
    endpoints: Endpoints,
    sql: String,
    with_token: Https,
}

impl LogCache {
    /// Returns a client of the log cache of `endpoints`. `https` has the token.
    #[must_use]
    pub fn new(endpoints: &Endpoints, https: Https) -> Self {
        Self {
            endpoints: endpoints.clone(),
            sql: format!("{}/v1/sql", endpoints.sql_http),
            with_token: https,
        }
    }

    /// Returns the rows of a query, each a JSON object.
    ///
    /// # Errors
    /// Fails when the query is refused, or its answer is not JSON.
    pub async fn rows(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let answer = self.ask(query, "application/x-ndjson").await?;
        ensure!(answer.status.is_success(), "{}: {}", answer.status, answer.text());
        answer
            .text()
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    /// Returns the answer to a query with any status.
    ///
    /// # Errors
    /// Fails when there is no answer.
    pub async fn ask(&self, query: &str, accept: &str) -> anyhow::Result<Answer> {
        self.with_token
            .post(&self.sql, "text/plain", accept, query.to_owned())
            .await
    }

    /// Returns the answer to a query with URL parameters, such as `wide=true`.
    ///
    /// # Errors
    /// Fails when there is no answer.
    pub async fn ask_with(&self, parameters: &str, query: &str, accept: &str) -> anyhow::Result<Answer> {
        let url = format!("{}?{parameters}", self.sql);
        self.with_token.post(&url, "text/plain", accept, query.to_owned()).await
    }

    /// Returns the single number in the answer to a query.
    ///
    /// # Errors
    /// Fails when the answer is anything else.
    pub async fn number(&self, query: &str) -> anyhow::Result<u64> {
        let rows = self.rows(query).await?;
        let row = rows.first().and_then(Value::as_object).context("no row")?;
        let value = row.values().next().context("no column")?;
        Ok(value.as_u64().unwrap_or_default())
    }

    /// Returns the lines that the log cache holds of the sources in `sent`, in the order of gRPC reads.
    ///
    /// # Errors
    /// Fails when a read fails.
    pub async fn lines_of(&self, sent: &Sent) -> anyhow::Result<Received> {
        let channel = connect(&self.endpoints.log_cache, "log-cache", &self.endpoints.mutual()?).await?;
        let mut client = EgressClient::new(channel).max_decoding_message_size(usize::MAX);
        let received = Received::default();
        for source_id in sent.keys() {
            let mut start_time = 0;
            loop {
                let request = ReadRequest {
                    source_id: source_id.clone(),
                    start_time,
                    limit: PAGE,
                    envelope_types: vec![EnvelopeType::Log.into()],
                    ..ReadRequest::default()
                };
                let answer = client.read(request).await?.into_inner();
                let page = answer.envelopes.unwrap_or_default().batch;
                let Some(last) = page.last() else { break };
                start_time = last.timestamp + 1;
                for envelope in &page {
                    if let Some(Message::Log(log)) = &envelope.message {
                        received.record_line(source_id, &log.payload);
                    }
                }
            }
        }
        Ok(received)
    }
}
