//! Answers as bytes.

use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::WriterBuilder as JsonWriter;
use arrow::json::writer::{JsonArray, LineDelimited};
use arrow::util::pretty::pretty_format_batches_with_schema;
use thiserror::Error;

use crate::engine::{Answer, Truncated};
use crate::error::QueryError;
use crate::nearest::nearest;
use crate::values;

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

    /// Writes an answer.
    ///
    /// # Errors
    /// If Arrow cannot write one of its types, which is a fault of ours.
    pub fn render(self, answer: &Answer) -> Result<Rendered, QueryError> {
        let body = self
            .write(&answer.schema, &answer.batches)
            .map_err(|error| internal(&error))?;
        Ok(Rendered {
            format: self,
            body,
            rows: answer.rows,
            truncated: answer.truncated,
        })
    }

    fn write(self, schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<u8>, ArrowError> {
        let schema = plain_schema(schema);
        let batches = batches
            .iter()
            .map(|batch| plain(&schema, batch))
            .collect::<Result<Vec<_>, _>>()?;
        let mut body = Vec::new();
        match self {
            Self::Table => {
                let table = pretty_format_batches_with_schema(schema, &batches)?;
                body.extend_from_slice(table.to_string().as_bytes());
                body.push(b'\n');
            }
            Self::Json => {
                let mut writer = json().build::<_, JsonArray>(&mut body);
                batches.iter().try_for_each(|batch| writer.write(batch))?;
                writer.finish()?;
                body.push(b'\n');
            }
            Self::Ndjson => {
                let mut writer = json().build::<_, LineDelimited>(&mut body);
                batches.iter().try_for_each(|batch| writer.write(batch))?;
                writer.finish()?;
            }
            Self::Csv => {
                values::write_csv(&RecordBatch::new_empty(schema), true, &mut body)?;
                for batch in &batches {
                    values::write_csv(batch, false, &mut body)?;
                }
            }
            Self::Arrow => {
                let mut writer = StreamWriter::try_new(&mut body, &schema)?;
                batches.iter().try_for_each(|batch| writer.write(batch))?;
                writer.finish()?;
            }
        }
        Ok(body)
    }

    /// Writes rows of a live query: as lines, without a header.
    ///
    /// # Errors
    /// If Arrow cannot write one of its types, which is a fault of ours.
    pub fn render_lines(batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        Self::Ndjson
            .write(&batch.schema(), std::slice::from_ref(batch))
            .map_err(|error| internal(&error))
    }
}

/// An answer as bytes.
#[derive(Debug, Clone)]
pub struct Rendered {
    /// As what it is written.
    pub format: Format,
    /// The bytes.
    pub body: Vec<u8>,
    /// How many rows there are.
    pub rows: usize,
    /// Set if there would have been more, and what they exceeded.
    pub truncated: Option<Truncated>,
}

fn json() -> JsonWriter {
    JsonWriter::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(values::Numbers))
}

fn internal(error: &ArrowError) -> QueryError {
    QueryError::Internal(error.to_string())
}

/// The type that every Arrow reader knows: views become plain texts and bytes. They would also carry whole buffers along,
/// with more in them than the rows of the answer.
fn plain_type(data_type: &DataType) -> DataType {
    let plain_field = |field: &Arc<Field>| {
        let data_type = plain_type(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match data_type {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(field) => DataType::List(plain_field(field)),
        DataType::LargeList(field) => DataType::LargeList(plain_field(field)),
        DataType::Map(field, sorted) => DataType::Map(plain_field(field), *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Dictionary(_, values) => plain_type(values),
        other => other.clone(),
    }
}

fn plain_schema(schema: &Schema) -> SchemaRef {
    let plain = |field: &Arc<Field>| field.as_ref().clone().with_data_type(plain_type(field.data_type()));
    Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()))
}

fn plain(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| cast(column, field.data_type()));
    RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns.collect::<Result<Vec<_>, _>>()?,
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )
}
