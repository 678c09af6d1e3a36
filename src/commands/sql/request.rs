//! A query over HTTPS: `POST /v1/sql` with a JSON body and a token.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::{Value, json};
use weir_error::ErrorKind;
use weir_net::AnswerBody;

use crate::client::{Stack, http as client};
use crate::commands::token;
use crate::failure::Failure;

/// The most bytes of an answer that is read as a whole.
const MAX_TEXT: usize = 16 << 20;

/// The format of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// A grid for people
    Table,
    /// Comma-separated, with a header
    Csv,
    /// One array of objects
    Json,
    /// One object per line
    Ndjson,
    /// Arrow IPC stream, for programs
    Arrow,
    /// A line for each column; asked for by `--vertical`.
    #[value(skip)]
    Vertical,
}

impl Format {
    const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Arrow => "arrow",
            Self::Vertical => "vertical",
        }
    }
}

/// The caller of a query, whose token decides which rows are visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The user who is logged in, or else the operator.
    User,
    /// The operator, who sees all rows.
    Operator,
}

/// A query.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    pub(crate) sql: String,
    pub(crate) format: Format,
    pub(crate) timeout: Option<Duration>,
    pub(crate) max_rows: Option<u64>,
    /// Whether rows are sent as they arrive, without an end.
    pub(crate) follow: bool,
    /// Whether a table shows all of each cell.
    pub(crate) wide: bool,
    /// The columns of the terminal. A wider table is written record by record.
    pub(crate) width: Option<usize>,
    pub(crate) caller: Caller,
}

impl Query {
    /// Returns a query of the operator.
    pub(crate) fn new(sql: impl Into<String>, format: Format) -> Self {
        Self {
            sql: sql.into(),
            format,
            timeout: None,
            max_rows: None,
            follow: false,
            wide: false,
            width: None,
            caller: Caller::Operator,
        }
    }

    /// Returns a query of the user whose rows are sent as they arrive.
    pub(crate) fn following(sql: impl Into<String>) -> Self {
        Self {
            follow: true,
            caller: Caller::User,
            ..Self::new(sql, Format::Ndjson)
        }
    }

    pub(crate) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sends the query. The answer is a stream of bytes in the format of the query.
    pub(crate) async fn send(&self, stack: &Stack) -> Result<Response<AnswerBody>, Failure> {
        let response = client::send(&stack.tls, self.request(stack).await?).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        Err(refused(status, &client::error_text(response).await))
    }

    /// Sends the query and reads the whole answer, of at most 16 MiB.
    pub(crate) async fn text(&self, stack: &Stack) -> Result<String, Failure> {
        client::text(self.send(stack).await?, MAX_TEXT).await
    }

    async fn request(&self, stack: &Stack) -> Result<Request<Bytes>, Failure> {
        let token = match self.caller {
            Caller::User => token::current(&stack.state).await?,
            Caller::Operator => token::operator(&stack.state)?,
        };
        Request::post(format!("{}/v1/sql", stack.endpoints.address("sql_http")?))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("bearer {token}"))
            .body(Bytes::from(self.body().to_string()))
            .map_err(|error| Failure::new(ErrorKind::Internal, format!("request: {error}")))
    }

    fn body(&self) -> Value {
        let mut body = json!({ "query": self.sql, "format": self.format.name() });
        if let Some(timeout) = self.timeout {
            body["timeout"] = format!("{}ms", timeout.as_millis()).into();
        }
        if let Some(max_rows) = self.max_rows {
            body["max_rows"] = max_rows.into();
        }
        if self.follow {
            body["follow"] = true.into();
        }
        if self.wide {
            body["wide"] = true.into();
        }
        if let Some(width) = self.width {
            body["width"] = width.into();
        }
        body
    }
}

/// Returns the failure of an error answer `{"error": "…", "hint": "…"}`.
fn refused(status: StatusCode, text: &str) -> Failure {
    let kind = ErrorKind::from_http(status).unwrap_or(ErrorKind::Internal);
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let field = |name: &str| {
        parsed
            .as_ref()
            .and_then(|value| value.get(name))
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let message = field("error")
        .or_else(|| field("message"))
        .unwrap_or_else(|| match text {
            "" => format!("sql: {status}"),
            text => text.trim_start_matches("error: ").to_owned(),
        });
    let failure = Failure::new(kind, message);
    match field("hint") {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body has the options of the query, and no others.
    #[test]
    fn the_body_says_what_was_asked() {
        let query = Query {
            max_rows: Some(5),
            width: Some(80),
            ..Query::new("select 1", Format::Csv).with_timeout(Duration::from_secs(2))
        };
        assert_eq!(
            query.body(),
            json!({ "query": "select 1", "format": "csv", "timeout": "2000ms", "max_rows": 5, "width": 80 })
        );
        assert_eq!(
            Query::new("select 1", Format::Table).body(),
            json!({ "query": "select 1", "format": "table" })
        );
    }

    /// Errors of the server become failures with their hints.
    #[test]
    fn refusals_keep_their_hint() {
        let failure = refused(
            StatusCode::BAD_REQUEST,
            r#"{"error":"table `log` does not exist","hint":"did you mean `logs`?"}"#,
        );
        assert_eq!(
            failure.to_string(),
            "error: table `log` does not exist\nhint: did you mean `logs`?"
        );
        assert_eq!(failure.kind(), ErrorKind::InvalidInput);
        assert_eq!(
            refused(StatusCode::BAD_GATEWAY, "").to_string(),
            "error: sql: 502 Bad Gateway"
        );
        assert_eq!(refused(StatusCode::BAD_REQUEST, "plain").to_string(), "error: plain");
    }
}
