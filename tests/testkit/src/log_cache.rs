//! The log cache as its clients see it: SQL and REST over HTTPS.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::{Answer, Endpoints, Https, Sent};

/// The faces of a stack's log cache.
#[derive(Debug, Clone)]
pub struct LogCache {
    sql: String,
    with_token: Https,
}

impl LogCache {
    /// The log cache of `endpoints`, called with `https`, which has the token.
    ///
    /// # Errors
    /// Never today; the certificates may be read here one day.
    pub fn new(endpoints: &Endpoints, https: Https) -> anyhow::Result<Self> {
        Ok(Self {
            sql: format!("{}/v1/sql", endpoints.sql_http),
            with_token: https,
        })
    }

    /// The rows of a query, one JSON object each.
    ///
    /// # Errors
    /// When the query is refused or its answer is no JSON.
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

    /// The answer to a query, whatever it is.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ask(&self, query: &str, accept: &str) -> anyhow::Result<Answer> {
        self.with_token
            .post(&self.sql, "text/plain", accept, query.to_owned())
            .await
    }

    /// The single number that a query gives.
    ///
    /// # Errors
    /// When it gives something else.
    pub async fn number(&self, query: &str) -> anyhow::Result<u64> {
        let rows = self.rows(query).await?;
        let row = rows.first().and_then(Value::as_object).context("no row")?;
        let value = row.values().next().context("no column")?;
        Ok(value.as_u64().unwrap_or_default())
    }

    /// How many logs it holds of the sources in `sent`.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn stored(&self, sent: &Sent) -> anyhow::Result<Sent> {
        let rows = self
            .rows("select source_id, count(*) as n from logs group by source_id")
            .await?;
        let counts: Sent = rows
            .iter()
            .filter_map(|row| Some((row["source_id"].as_str()?.to_owned(), row["n"].as_u64()?)))
            .collect();
        Ok(sent
            .keys()
            .map(|source_id| (source_id.clone(), counts.get(source_id).copied().unwrap_or_default()))
            .collect())
    }
}
