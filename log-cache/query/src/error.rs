//! The errors of queries, with texts for the person who wrote the query.

use std::time::Duration;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use thiserror::Error;
use weir_error::{Classify, ErrorKind, nearest};
use weir_flow::Busy;

use crate::provider::table_names;

/// The reason why a query has no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// The text is not SQL, or names something that does not exist.
    #[error("query: {message}")]
    Invalid {
        /// The fault.
        message: String,
        /// What was probably meant, or what to write instead.
        hint: Option<String>,
    },
    /// The statement does not only read.
    #[error("query: `{statement}` is not allowed: the log cache can only be read")]
    ReadOnly {
        /// The leading words of the statement.
        statement: String,
    },
    /// The query is too long, too deeply nested, or its plan would be too large.
    #[error("query: {what} `{found}` is more than the `{allowed}` that are accepted")]
    TooComplex {
        /// What exceeds its limit.
        what: &'static str,
        /// The size that was found.
        found: usize,
        /// The greatest accepted size.
        allowed: usize,
    },
    /// The name of a column is too long.
    #[error("query: a column has a name of `{found}` bytes, and `{allowed}` are accepted")]
    NameTooLong {
        /// The length of the name, in bytes.
        found: usize,
        /// The greatest accepted length, in bytes.
        allowed: usize,
    },
    /// A row of the answer is too large.
    #[error("query: a row of the answer has `{found}` bytes, and `{allowed}` are accepted")]
    RowTooLarge {
        /// The size of the row, in bytes.
        found: usize,
        /// The greatest accepted size, in bytes.
        allowed: usize,
    },
    /// The query needs more memory than a query gets.
    #[error("query: needs more than the `{limit}` bytes of memory that a query gets")]
    TooMuchMemory {
        /// The memory that a query gets, in bytes.
        limit: usize,
    },
    /// The query did not end within its time-out.
    #[error("query: not done after {} s", after.as_secs_f32())]
    Timeout {
        /// The time-out.
        after: Duration,
    },
    /// The query failed on a value.
    #[error("query: {message}")]
    Failed {
        /// The reason.
        message: String,
    },
    /// Too many queries are running and waiting.
    #[error("query: `{running}` others are running and more are waiting")]
    Busy {
        /// The number of queries that run at a time.
        running: usize,
    },
    /// The caller has the greatest allowed number of live queries.
    #[error("query: `{running}` live queries of yours are running, which is all that one caller gets")]
    TooManyLive {
        /// The number of the caller's live queries.
        running: usize,
    },
    /// The query cannot be followed live.
    #[error("query: cannot be followed live: {reason}")]
    NotLive {
        /// The reason.
        reason: String,
    },
    /// The log cache is stopping.
    #[error("query: the log cache is stopping")]
    Stopping,
    /// A fault of the log cache.
    #[error("query: internal error: {0}")]
    Internal(String),
}

impl Classify for QueryError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } | Self::ReadOnly { .. } | Self::Failed { .. } | Self::NotLive { .. } => {
                ErrorKind::InvalidInput
            }
            Self::TooComplex { .. }
            | Self::NameTooLong { .. }
            | Self::RowTooLarge { .. }
            | Self::TooMuchMemory { .. } => ErrorKind::TooLarge,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Busy { .. } | Self::TooManyLive { .. } => ErrorKind::RateLimited,
            Self::Stopping => ErrorKind::Unavailable,
            Self::Internal(_) => ErrorKind::Internal,
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::TooManyLive { .. } | Self::Stopping)
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Invalid { hint: Some(hint), .. } => return Some(hint.clone()),
            Self::Invalid { hint: None, .. } => {
                "`SHOW TABLES` and `DESCRIBE logs` say what there is; text goes in single quotes: 'text'"
            }
            Self::Failed { message } => failed_hint(message),
            Self::ReadOnly { .. } => {
                "ask with `SELECT`; `EXPLAIN SELECT …`, `SHOW TABLES` and `DESCRIBE logs` work too"
            }
            Self::TooComplex { .. } => "split the query; for many values use `IN (…)` instead of `OR`",
            Self::NameTooLong { .. } => "give it a shorter one: `SELECT … AS name`",
            Self::RowTooLarge { .. } => {
                "ask for parts of long texts and lists, as with `substr(body, 1, 1000)`, or for another format than a table"
            }
            Self::TooMuchMemory { .. } => {
                "narrow it down by source_id or timestamp, select fewer columns, or aggregate before you sort or join"
            }
            Self::Timeout { .. } => "narrow it down by source_id or timestamp, or allow more time with `timeout`",
            Self::Busy { .. } => "try again in a moment",
            Self::TooManyLive { .. } => "end one of them, or ask for more in one query: `WHERE … OR …`",
            Self::NotLive { .. } => "follow one table with columns and a WHERE clause: `SELECT body FROM logs WHERE …`",
            Self::Stopping => "try again when it is back",
            Self::Internal(_) => return None,
        };
        Some(hint.to_owned())
    }
}

impl From<Busy> for QueryError {
    fn from(busy: Busy) -> Self {
        Self::Busy { running: busy.running }
    }
}

impl QueryError {
    /// Translates an error of DataFusion. `memory_limit` is the memory of the query, in bytes.
    pub(crate) fn from_datafusion(error: &DataFusionError, memory_limit: usize) -> Self {
        let root = error.find_root();
        // Errors of this crate's functions pass through DataFusion unchanged.
        if let DataFusionError::External(ours) = root
            && let Some(limit) = ours.downcast_ref::<LimitError>()
        {
            return match limit {
                LimitError::Value { .. } => Self::Failed {
                    message: limit.to_string(),
                },
                LimitError::Interrupted => Self::Stopping,
            };
        }
        match root {
            DataFusionError::ResourcesExhausted(_) => Self::TooMuchMemory { limit: memory_limit },
            DataFusionError::SQL(parse, _) => Self::Invalid {
                message: clean(&parse.to_string()),
                hint: None,
            },
            DataFusionError::SchemaError(schema, _) => schema_error(schema),
            DataFusionError::Plan(message) => plan_error(message),
            DataFusionError::NotImplemented(message) => Self::Invalid {
                message: format!("not supported: {}", clean(message)),
                hint: None,
            },
            DataFusionError::Configuration(message) => Self::Invalid {
                message: clean(message),
                hint: None,
            },
            DataFusionError::Execution(message) => Self::Failed {
                message: clean(message),
            },
            DataFusionError::ArrowError(arrow, _) => Self::Failed {
                message: clean(&arrow.to_string()),
            },
            // Errors of functions about their arguments, such as a pattern that is malformed.
            DataFusionError::External(error) => Self::Failed {
                message: clean(&error.to_string()),
            },
            // DataFusion checks the plans that its planner and optimiser make. A failed check affects only this query,
            // and its author can write it in another way. So it is not reported as a fault of the log cache.
            DataFusionError::Internal(message) => unplannable(message),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// Returns the error for a query that DataFusion cannot plan, although it may be valid.
fn unplannable(message: &str) -> QueryError {
    tracing::debug!(error = message, "the query engine does not carry out a query");
    QueryError::Invalid {
        message: "not supported: the query engine does not carry this out".to_owned(),
        hint: Some("write it in another way, or leave parts out until it works".to_owned()),
    }
}

/// Returns the hint for a query that failed on a value.
fn failed_hint(message: &str) -> &'static str {
    let message = message.to_lowercase();
    let is_about = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if is_about(&["divide by zero", "division by zero"]) {
        "divide by `nullif(x, 0)`, which is null where `x` is zero"
    } else if is_about(&["overflow", "too large to store", "out of range"]) {
        "compute with a larger type, as `cast(x as double)` or `cast(x as decimal(38, 0))`"
    } else if is_about(&["time that no calendar has"]) {
        "leave such values out, or show them as numbers: `cast(x as bigint)`"
    } else if is_about(&["cast", "pars", "timestamp"]) {
        "`try_cast(x as …)` is null where a value does not fit"
    } else {
        "find the values on which it fails, and leave them out with WHERE"
    }
}

/// Errors that this crate's functions raise within DataFusion.
#[derive(Debug, Error)]
pub(crate) enum LimitError {
    /// A value or an array of values would be too large.
    #[error("`{function}` would make more than {limit} bytes at once")]
    Value {
        /// The function that would make it.
        function: String,
        /// The greatest size that the function may make at once, in bytes.
        limit: usize,
    },
    /// The caller no longer waits for the answer.
    #[error("interrupted")]
    Interrupted,
}

impl From<LimitError> for DataFusionError {
    fn from(error: LimitError) -> Self {
        Self::External(Box::new(error))
    }
}

/// Translates an error about the names of columns.
fn schema_error(error: &SchemaError) -> QueryError {
    let (message, hint) = match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let names = valid_fields.iter().map(|field| field.name());
            let hint = match nearest(field.name(), names.clone()) {
                Some(name) => Some(format!("did you mean `{name}`?")),
                None if valid_fields.is_empty() => Some("text goes in single quotes: 'text'".to_owned()),
                None => Some(format!(
                    "there are {}; text goes in single quotes: '{}'",
                    names.collect::<Vec<_>>().join(", "),
                    field.name()
                )),
            };
            return QueryError::Invalid {
                message: format!("no column `{}`", field.flat_name()),
                hint,
            };
        }
        SchemaError::AmbiguousReference { field } => (
            format!("column `{}` is in several tables", field.name()),
            format!("say in which, as in `logs.{}`", field.name()),
        ),
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => (
            format!("column `{name}` comes twice"),
            "give one of them another name with AS".to_owned(),
        ),
    };
    QueryError::Invalid {
        message,
        hint: Some(hint),
    }
}

/// Translates an error of the planner, for which DataFusion has texts only.
fn plan_error(message: &str) -> QueryError {
    let message = clean(message);
    let missing = message
        .split_once("table '")
        .and_then(|(_, rest)| rest.strip_suffix("' not found"));
    if let Some(table) = missing {
        let table = table.rsplit('.').next().unwrap_or(table);
        let hint = match nearest(table, table_names()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("there are {}", table_names().collect::<Vec<_>>().join(", ")),
        };
        return QueryError::Invalid {
            message: format!("no table `{table}`"),
            hint: Some(hint),
        };
    }
    match message.split_once("\nDid you mean ") {
        Some((message, meant)) => {
            let meant = meant.trim_end_matches('?').trim_matches('\'');
            QueryError::Invalid {
                message: clean(message),
                hint: Some(format!("did you mean `{meant}`?")),
            }
        }
        None if message.contains("unique expression names") => QueryError::Invalid {
            message: "two columns have one name".to_owned(),
            hint: Some("give one of them another name: `SELECT seq, seq AS again FROM logs`".to_owned()),
        },
        None => QueryError::Invalid { message, hint: None },
    }
}

/// Returns a message without DataFusion's prefixes and final full stop.
fn clean(message: &str) -> String {
    let message = message.trim().trim_end_matches('.');
    let prefixes = [
        "sql parser error: ",
        "ParserError(\"",
        "Execution error: ",
        "Error during planning: ",
    ];
    let message = prefixes.iter().fold(message, |message, prefix| {
        message.strip_prefix(prefix).unwrap_or(message)
    });
    message.trim_end_matches("\")").to_owned()
}
