//! Writes an answer in pieces, so that its whole text is never in memory.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::json::Writer as JsonWriter;
use arrow::json::WriterBuilder as JsonWriterBuilder;
use arrow::json::writer::{JsonArray, JsonFormat, LineDelimited};

use super::collect::{row_bytes, row_text};
use super::plain::{plain, plain_schema};
use super::records::Records;
use super::table::Table;
use super::{Format, Layout, internal};
use crate::engine::Answer;
use crate::error::QueryError;
use crate::values;

/// The size of the rows of a piece, in bytes, unless a single row is larger.
const PIECE: usize = 256 << 10;

/// Writes an answer, and holds the rows that are not written yet.
pub(super) struct Writer {
    form: Form,
    batches: VecDeque<RecordBatch>,
    /// The size of each row of the first batch, in bytes.
    sizes: Vec<usize>,
    /// The number of rows of the first batch that are written.
    row: usize,
    /// The length of each row's text without its values, in bytes.
    row_text: usize,
    largest_piece: usize,
    done: bool,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("batches", &self.batches.len())
            .finish_non_exhaustive()
    }
}

/// The writer of a format.
enum Form {
    Table(Table),
    Records(Records),
    Json(JsonWriter<Vec<u8>, JsonArray>),
    Ndjson(JsonWriter<Vec<u8>, LineDelimited>),
    Csv { schema: SchemaRef, header: bool },
    Arrow(Box<StreamWriter<Vec<u8>>>),
}

impl Writer {
    /// Returns a writer, which takes the rows out of `answer`. The last rows of an answer for people that would be
    /// longer than `max_text` bytes are dropped, and the answer is marked as cut short.
    pub(super) fn new(
        format: Format,
        answer: &mut Answer,
        layout: Layout,
        max_text: usize,
    ) -> Result<Self, QueryError> {
        let row_text = row_text(&answer.schema, format);
        // The most bytes of text for one byte of a value. A control character has six bytes in JSON. In CSV, where
        // nested values are JSON, quotes are doubled.
        let (form, expansion) = match format {
            Format::Table => (Form::table(answer, layout, max_text)?, 1),
            Format::Vertical => (Form::records(answer, layout, max_text)?, 1),
            Format::Json => (Form::Json(json()), 6),
            Format::Ndjson => (Form::Ndjson(json()), 6),
            Format::Csv => {
                let schema = answer.schema.clone();
                (Form::Csv { schema, header: true }, 12)
            }
            Format::Arrow => {
                let writer = StreamWriter::try_new(Vec::new(), &answer.schema).map_err(|error| internal(&error))?;
                (Form::Arrow(Box::new(writer)), 1)
            }
        };
        let largest_piece = match &form {
            Form::Table(table) => table.largest_row() + 2 * PIECE,
            Form::Records(records) => records.largest_row() + 2 * PIECE,
            _ => expansion * (PIECE + answer.largest + row_text),
        };
        Ok(Self {
            form,
            batches: std::mem::take(&mut answer.batches).into(),
            sizes: Vec::new(),
            row: 0,
            row_text,
            largest_piece,
            done: false,
        })
    }

    /// The greatest size of a piece, in bytes.
    pub(super) const fn largest_piece(&self) -> usize {
        self.largest_piece
    }

    /// Whether the last piece has been written.
    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// Writes the next piece.
    pub(super) fn next(&mut self) -> Result<Vec<u8>, QueryError> {
        let mut text = Vec::new();
        let mut room = PIECE;
        while room > 0
            && let Some(batch) = self.batches.front()
        {
            if self.row == 0 {
                self.sizes = match &self.form {
                    Form::Table(table) => table.row_bytes(batch.num_rows()),
                    Form::Records(records) => records.row_bytes(batch.num_rows()),
                    _ => row_bytes(batch),
                };
            }
            let mut end = self.row;
            while end < batch.num_rows() && room > 0 {
                room = room.saturating_sub(self.sizes[end] + self.row_text);
                end += 1;
            }
            let rows = batch.slice(self.row, end - self.row);
            self.row = end;
            if end == batch.num_rows() {
                self.batches.pop_front();
                self.row = 0;
            }
            self.form.write(&rows, &mut text).map_err(|error| internal(&error))?;
        }
        if self.batches.is_empty() {
            self.form.finish(&mut text).map_err(|error| internal(&error))?;
            self.done = true;
        }
        Ok(text)
    }
}

impl Form {
    /// A table, or records if that is wider than the terminal.
    fn table(answer: &mut Answer, layout: Layout, max_text: usize) -> Result<Self, QueryError> {
        let table = Table::measure(answer, layout.cells)?;
        if layout.width.is_some_and(|width| table.width() > width) {
            return Self::records(answer, layout, max_text);
        }
        Ok(Self::Table(table.fit(answer, max_text)?))
    }

    fn records(answer: &mut Answer, layout: Layout, max_text: usize) -> Result<Self, QueryError> {
        let Layout { cells, width } = layout;
        Ok(Self::Records(Records::new(answer, cells, width, max_text)?))
    }

    fn write(&mut self, rows: &RecordBatch, text: &mut Vec<u8>) -> Result<(), ArrowError> {
        match self {
            Self::Table(table) => table.write(rows, text),
            Self::Records(records) => records.write(rows, text),
            Self::Json(writer) => {
                writer.write(rows)?;
                text.append(writer.get_mut());
                Ok(())
            }
            Self::Ndjson(writer) => {
                writer.write(rows)?;
                text.append(writer.get_mut());
                Ok(())
            }
            Self::Csv { header, .. } => values::write_csv(rows, std::mem::take(header), text),
            Self::Arrow(writer) => {
                writer.write(rows)?;
                text.append(writer.get_mut());
                Ok(())
            }
        }
    }

    fn finish(&mut self, text: &mut Vec<u8>) -> Result<(), ArrowError> {
        match self {
            Self::Table(table) => table.finish(text),
            Self::Records(records) => {
                records.finish(text);
                Ok(())
            }
            Self::Json(writer) => {
                writer.finish()?;
                text.append(writer.get_mut());
                text.push(b'\n');
                Ok(())
            }
            Self::Ndjson(writer) => {
                writer.finish()?;
                text.append(writer.get_mut());
                Ok(())
            }
            Self::Csv { header: false, .. } => Ok(()),
            Self::Csv { schema, header } => {
                values::write_csv(&RecordBatch::new_empty(schema.clone()), std::mem::take(header), text)
            }
            Self::Arrow(writer) => {
                writer.finish()?;
                text.append(writer.get_mut());
                Ok(())
            }
        }
    }
}

fn json<F: JsonFormat>() -> JsonWriter<Vec<u8>, F> {
    JsonWriterBuilder::new()
        .with_explicit_nulls(true)
        .with_encoder_factory(Arc::new(values::Numbers))
        .build(Vec::new())
}

/// Writes rows of a live query as lines of JSON.
pub(super) fn lines(batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
    let write = || {
        let rows = plain(&plain_schema(&batch.schema()), batch)?;
        let mut writer = json::<LineDelimited>();
        writer.write(&rows)?;
        writer.finish()?;
        Ok(writer.into_inner())
    };
    write().map_err(|error: ArrowError| internal(&error))
}
