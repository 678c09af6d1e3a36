//! Answers as bytes.
//!
//! A query's rows are collected as Arrow arrays up to a bound ([`collect`]), which ends the query's turn; nothing is ever
//! held as text but one piece of it ([`pieces`]). A [`Rendered`] has the first piece, and so most answers as a whole; the
//! others are written when their client has read what came before.

use std::str::FromStr;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use thiserror::Error;

use crate::engine::{Answer, Engine, Truncated};
use crate::error::QueryError;
use crate::nearest::nearest;

pub(crate) mod collect;
mod pieces;
mod plain;
mod table;

use pieces::Writer;
pub use table::Cells;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A table of text, for people.
    #[default]
    Table,
    /// An array of objects.
    Json,
    /// An object a line.
    Ndjson,
    /// Comma-separated values with a header line.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

/// A format that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("format `{0}` is not known")]
pub struct UnknownFormat(pub String);

impl weir_error::Classify for UnknownFormat {
    fn kind(&self) -> weir_error::ErrorKind {
        weir_error::ErrorKind::InvalidInput
    }

    fn hint(&self) -> Option<String> {
        let names = Format::ALL.map(Format::as_str);
        Some(match nearest(&self.0, names) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("there are {}", names.join(", ")),
        })
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == name);
        found.ok_or_else(|| UnknownFormat(name.to_owned()))
    }
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Table, Self::Json, Self::Ndjson, Self::Csv, Self::Arrow];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
        }
    }

    /// Its media type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Table => "text/plain; charset=utf-8",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// The format that an `Accept` header asks for first, if it names one.
    #[must_use]
    pub fn from_accept(accept: &str) -> Option<Self> {
        let media_type = |text: &str| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        accept.split(',').map(media_type).find_map(|wanted| {
            Self::ALL
                .into_iter()
                .find(|format| media_type(format.content_type()) == wanted)
        })
    }

    /// Writes the first piece of an answer whose cells are shown as `cells` says; `engine` writes the others.
    ///
    /// # Errors
    /// If the answer has no form as a table, or if Arrow cannot write one of its types, which is a fault of ours.
    pub(crate) fn render(self, answer: Answer, cells: Cells, engine: &Engine) -> Result<Rendered, QueryError> {
        let held = answer.held;
        let mut answer = answer;
        let mut writer = Writer::new(self, &mut answer, cells, engine.limits().max_text())?;
        let first = writer.next()?;
        let (rows, truncated) = (answer.rows, answer.truncated);
        let largest = writer.largest_piece();
        let rest = (!writer.is_done()).then(|| Pieces {
            writer,
            engine: engine.clone(),
        });
        Ok(Rendered {
            format: self,
            rows,
            truncated,
            weight: if rest.is_some() { held + largest } else { first.len() },
            first,
            rest,
        })
    }

    /// Writes rows of a live query: as lines, without a header.
    ///
    /// # Errors
    /// If Arrow cannot write one of its types, which is a fault of ours.
    pub fn render_lines(batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        pieces::lines(batch)
    }
}

/// An answer as bytes: a first piece, and more where there are any.
#[derive(Debug)]
pub struct Rendered {
    /// As what it is written.
    pub format: Format,
    /// How many rows there are.
    pub rows: usize,
    /// Set if there would have been more, and what they exceeded.
    pub truncated: Option<Truncated>,
    /// The most bytes that are held for this answer until its last piece was read: rows that are not written yet, and a
    /// piece.
    pub weight: usize,
    /// The first piece; the whole answer if `rest` is `None`.
    pub first: Vec<u8>,
    /// What comes after the first piece.
    pub rest: Option<Pieces>,
}

/// The part of an answer that is not written yet.
#[derive(Debug)]
pub struct Pieces {
    writer: Writer,
    engine: Engine,
}

impl Pieces {
    /// Writes the next piece, on the engine's threads; with it comes what is left.
    ///
    /// # Errors
    /// If the engine is stopping, or by a fault of ours: what was sent until then is not the whole answer.
    pub async fn next(self) -> Result<(Vec<u8>, Option<Self>), QueryError> {
        let Self { mut writer, engine } = self;
        let task = engine.spawn(async move { (writer.next(), writer) })?;
        let (piece, writer) = task.await.map_err(|error| crate::engine::lost(&error))?;
        let rest = (!writer.is_done()).then_some(Self { writer, engine });
        Ok((piece?, rest))
    }
}

fn internal(error: &ArrowError) -> QueryError {
    QueryError::Internal(error.to_string())
}
