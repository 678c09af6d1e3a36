//! What can go wrong with a query, in the words of the one who wrote it.

use std::time::Duration;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_flow::Busy;

use crate::nearest::nearest;
use crate::provider::table_names;

/// Why a query has no answer.
#[derive(Debug, Error)]
pub enum QueryError {
    /// It is not SQL, or names what does not exist.
    #[error("query: {message}")]
    Invalid {
        /// What is wrong.
        message: String,
        /// What was probably meant.
        hint: Option<String>,
    },
    /// It would do something else than read.
    #[error("query: `{statement}` is not allowed: the log cache can only be read")]
    ReadOnly {
        /// The kind of statement.
        statement: String,
    },
    /// It is longer or more deeply nested than is accepted.
    #[error("query: {what} `{found}` is more than the `{allowed}` that are accepted")]
    TooComplex {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much there may be.
        allowed: usize,
    },
    /// A column of it has too long a name.
    #[error("query: a column has a name of `{found}` bytes, and `{allowed}` are accepted")]
    NameTooLong {
        /// How long it is.
        found: usize,
        /// How long it may be.
        allowed: usize,
    },
    /// One row of its answer is too large.
    #[error("query: a row of the answer has `{found}` bytes, and `{allowed}` are accepted")]
    RowTooLarge {
        /// How large it is.
        found: usize,
        /// How large it may be.
        allowed: usize,
    },
    /// It needs more memory than a query gets.
    #[error("query: needs more than the `{limit}` bytes of memory that a query gets")]
    TooMuchMemory {
        /// What a query gets.
        limit: usize,
    },
    /// It did not end in time.
    #[error("query: not done after {} s", after.as_secs_f32())]
    Timeout {
        /// The time it had.
        after: Duration,
    },
    /// It failed on the data.
    #[error("query: {message}")]
    Failed {
        /// Why.
        message: String,
    },
    /// Others are running.
    #[error("query: `{running}` others are running and more are waiting")]
    Busy {
        /// How many run at the same time.
        running: usize,
    },
    /// The caller has as many live queries as it may.
    #[error("query: `{running}` live queries of yours are running, which is all that one caller gets")]
    TooManyLive {
        /// How many run.
        running: usize,
    },
    /// It cannot be followed.
    #[error("query: cannot be followed live: {reason}")]
    NotLive {
        /// What stands in the way.
        reason: String,
    },
    /// The log cache is stopping.
    #[error("query: the log cache is stopping")]
    Stopping,
    /// A fault of ours.
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
    /// `error` in our words. `memory_limit` is what the query had.
    pub(crate) fn from_datafusion(error: &DataFusionError, memory_limit: usize) -> Self {
        let root = error.find_root();
        // Ours come back through DataFusion unchanged.
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
            // What functions make of their arguments, such as a pattern that is none.
            DataFusionError::External(error) => Self::Failed {
                message: clean(&error.to_string()),
            },
            // The planner's own checks, and its optimiser's, of what they made of a query: nothing else suffers from it, and
            // the one who can do something about it is who wrote the query.
            DataFusionError::Internal(message) => unplannable(message),
            other => Self::Internal(other.to_string()),
        }
    }
}

/// A query that is valid for all we know, but not carried out.
fn unplannable(message: &str) -> QueryError {
    tracing::debug!(error = message, "the query engine does not carry out a query");
    QueryError::Invalid {
        message: "not supported: the query engine does not carry this out".to_owned(),
        hint: Some("write it in another way, or leave parts out until it works".to_owned()),
    }
}

/// What to do about a value on which a query failed.
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

/// Limits that functions of ours enforce within DataFusion.
#[derive(Debug, Error)]
pub(crate) enum LimitError {
    /// One value or array of values would be too large.
    #[error("`{function}` would make more than {limit} bytes at once")]
    Value {
        /// Which function.
        function: String,
        /// What it may make.
        limit: usize,
    },
    /// Nobody waits for the answer any more.
    #[error("interrupted")]
    Interrupted,
}

impl From<LimitError> for DataFusionError {
    fn from(error: LimitError) -> Self {
        Self::External(Box::new(error))
    }
}

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

/// A message without DataFusion's prefixes and closing stop.
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
