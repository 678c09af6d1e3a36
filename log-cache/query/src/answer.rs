//! Writes answers as bytes.
//!
//! The rows of a query are collected as Arrow arrays up to a bound ([`collect`]), and then the query's turn ends. Of the text,
//! only one piece is held at a time ([`pieces`]). A [`Rendered`] has the first piece, which is the whole of most answers. Each
//! further piece is written when the client has read the one before (decision 0017).

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

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// A table of text, for people to read.
    #[default]
    Table,
    /// A JSON array of objects.
    Json,
    /// One JSON object in each line.
    Ndjson,
    /// Comma-separated values with a header line.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
}

/// The error for the name of an unknown format.
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

    /// The name of the format.
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

    /// The media type of the format.
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

    /// Returns the first format that an `Accept` header names, if it names one.
    #[must_use]
    pub fn from_accept(accept: &str) -> Option<Self> {
        let media_type = |text: &str| text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        accept.split(',').map(media_type).find_map(|wanted| {
            Self::ALL
                .into_iter()
                .find(|format| media_type(format.content_type()) == wanted)
        })
    }

    /// Writes the first piece of an answer. `cells` says how much of a cell a table shows; `engine` writes further pieces.
    ///
    /// # Errors
    /// If a table would have a row that is too large, or if Arrow cannot write a type, which is a fault of this crate.
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

    /// Writes rows of a live query as lines of JSON.
    ///
    /// # Errors
    /// If Arrow cannot write a type, which is a fault of this crate.
    pub fn render_lines(batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        pieces::lines(batch)
    }
}

/// An answer as bytes: the first piece, and the rest if there is any.
#[derive(Debug)]
pub struct Rendered {
    /// The format of the bytes.
    pub format: Format,
    /// The number of rows.
    pub rows: usize,
    /// The limit that cut the answer short, if one did.
    pub truncated: Option<Truncated>,
    /// The most memory that is held for this answer until its last piece was read, in bytes: rows that are not written yet,
    /// and one piece.
    pub weight: usize,
    /// The first piece; the whole answer if `rest` is `None`.
    pub first: Vec<u8>,
    /// The pieces after the first one.
    pub rest: Option<Pieces>,
}

/// The part of an answer that is not written yet.
#[derive(Debug)]
pub struct Pieces {
    writer: Writer,
    engine: Engine,
}

impl Pieces {
    /// Writes the next piece on the engine's threads; returns it and the rest.
    ///
    /// # Errors
    /// If the engine is stopping, or by a fault of this crate. The pieces before are then not the whole answer.
    pub async fn next(self) -> Result<(Vec<u8>, Option<Self>), QueryError> {
        let Self { mut writer, engine } = self;
        let task = engine.spawn(async move { (writer.next(), writer) })?;
        let (piece, writer) = task.await.map_err(|error| crate::engine::task_error(&error))?;
        let rest = (!writer.is_done()).then_some(Self { writer, engine });
        Ok((piece?, rest))
    }
}

fn internal(error: &ArrowError) -> QueryError {
    QueryError::Internal(error.to_string())
}
