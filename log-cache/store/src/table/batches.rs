//! Makes record batches of selected rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, Float64Array, RecordBatch, RecordBatchOptions, StringArray, StringBuilder,
    StringViewBuilder, TimestampNanosecondArray, UInt32Array, UInt64Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use weir_envelope::wire::{Fields, Value};

use super::values::UsedValues;
use super::{Column, Table};
use crate::rows::Rows;
use crate::shape::{numbers, pair};
use crate::snapshot::Selection;

/// The default number of rows of a batch.
const BATCH_ROWS: usize = 8192;

/// The payload for which a batch has room, in bytes for each row that it may have. A batch ends when its rows or its
/// payload reach their limit, and has at least one row.
const BYTES_PER_ROW: usize = 512;

/// Iterates over the selected rows of a chunk, as record batches with some of a table's columns.
#[derive(Debug)]
pub struct Batches {
    table: Table,
    rows: Arc<Rows>,
    schema: SchemaRef,
    columns: Vec<(Column, Option<ArrayRef>)>,
    used: UsedValues,
    /// The selected rows.
    selection: Selection,
    /// The index of the first range that is not finished.
    range: usize,
    /// The number of rows of that range that were returned.
    taken: usize,
    batch_rows: usize,
}

/// The rows of one batch.
#[derive(Debug)]
enum BatchRows {
    /// Adjacent rows, whose columns are shared without a copy.
    Range(Range<usize>),
    /// Single rows.
    Indices(UInt32Array),
}

impl Batches {
    /// Returns batches of the rows in `selection`; `columns` are positions in the table's schema.
    ///
    /// # Panics
    /// If the rows are not of the table's kind, or a column does not exist.
    #[must_use]
    pub fn new(table: Table, rows: Arc<Rows>, selection: Selection, columns: &[usize]) -> Self {
        assert_eq!(table.kind(), rows.kind(), "rows of the table's kind");
        let all: Vec<Column> = table.columns().map(|(_, column)| column).collect();
        let schema = Arc::new(table.schema().project(columns).expect("columns of the table's schema"));
        let used = UsedValues::of(&rows, &selection);
        let columns = columns
            .iter()
            .map(|column| (all[*column], used.values(&rows, all[*column])))
            .collect();
        Self {
            table,
            rows,
            schema,
            columns,
            used,
            selection,
            range: 0,
            taken: 0,
            batch_rows: BATCH_ROWS,
        }
    }

    /// Returns this iterator with batches of at most `rows` rows, and with a limit of their payload in proportion.
    #[must_use]
    pub const fn with_batch_rows(mut self, rows: usize) -> Self {
        self.batch_rows = if rows == 0 { 1 } else { rows };
        self
    }

    /// The schema of the batches.
    #[must_use]
    pub const fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns the rows of the next batch.
    fn choose(&mut self) -> Option<BatchRows> {
        let gauges = self.table == Table::Gauges;
        let mut chosen: Vec<Range<usize>> = Vec::new();
        let (mut weight, mut bytes) = (0usize, 0usize);
        let full = |weight, bytes| weight >= self.batch_rows || bytes >= self.batch_rows * BYTES_PER_ROW;
        while let Some(range) = self.selection.ranges().get(self.range) {
            let start = range.start + self.taken;
            let mut end = start;
            while end < range.end && !full(weight, bytes) {
                let payload = self.rows.payload(end).len();
                // A gauge becomes a row for each metric, whose value has 8 bytes; one without metrics counts as one
                // row.
                weight += if gauges { (payload / 8).max(1) } else { 1 };
                bytes += payload;
                end += 1;
            }
            chosen.push(start..end);
            if end < range.end {
                self.taken += end - start;
                break;
            }
            (self.range, self.taken) = (self.range + 1, 0);
            if full(weight, bytes) {
                break;
            }
        }
        match <[Range<usize>; 1]>::try_from(chosen) {
            // A single range, which is the usual case, needs no copy of most columns.
            Ok([together]) => Some(BatchRows::Range(together)),
            Err(chosen) if chosen.is_empty() => None,
            Err(chosen) => {
                let rows = chosen.into_iter().flatten().map(index);
                Some(BatchRows::Indices(UInt32Array::from_iter_values(rows)))
            }
        }
    }

    fn batch(&self, chosen: &BatchRows) -> Result<RecordBatch, ArrowError> {
        // A row of a gauge becomes one for each of its metrics, with its other columns repeated.
        let metrics = (self.table == Table::Gauges).then(|| self.metrics(chosen));
        let (parents, len) = match &metrics {
            Some(metrics) => (&BatchRows::Indices(metrics.parents.clone()), metrics.parents.len()),
            None => (chosen, chosen.len()),
        };
        let arrays = self
            .columns
            .iter()
            .map(|(column, values)| match (column, values, &metrics) {
                (Column::Name | Column::Unit, Some(values), Some(metrics)) => take(values, &metrics.names, None),
                (Column::Value, _, Some(metrics)) => Ok(Arc::new(metrics.values.clone()) as ArrayRef),
                (column, Some(values), _) => take(values, &self.keys(*column, parents), None),
                (column, None, _) => self.own(*column, parents),
            })
            .collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(len));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
    }

    /// Returns the position of each row's value in the array of shared values.
    fn keys(&self, column: Column, chosen: &BatchRows) -> UInt32Array {
        let rows = &self.rows;
        match column {
            Column::Stream => chosen.map(|row| u32::from(rows.stream(row) == weir_envelope::view::Stream::Err)),
            Column::Name => chosen.map(|row| self.used.first_name[rows.shape_index(row)]),
            _ => chosen.map(|row| index(rows.identity_index(row))),
        }
    }

    /// Returns a column whose values are not shared.
    fn own(&self, column: Column, chosen: &BatchRows) -> Result<ArrayRef, ArrowError> {
        let rows = &self.rows;
        let instant = |values| Arc::new(TimestampNanosecondArray::new(values, None).with_timezone("UTC")) as ArrayRef;
        let number = |second: bool| {
            let values = chosen.iter().map(|row| {
                let (first, other) = pair(rows.payload(row));
                if second { other } else { first }
            });
            if self.table == Table::Timers {
                instant(values.map(u64::cast_signed).collect())
            } else {
                Arc::new(UInt64Array::from_iter_values(values)) as ArrayRef
            }
        };
        Ok(match (column, chosen) {
            (Column::Timestamp, BatchRows::Range(range)) => instant(rows.timestamps().slice(range.start, range.len())),
            (Column::Timestamp, BatchRows::Indices(_)) => {
                instant(chosen.iter().map(|row| rows.timestamps()[row]).collect())
            }
            (Column::Seq, BatchRows::Range(range)) => {
                Arc::new(UInt64Array::new(rows.seqs().slice(range.start, range.len()), None))
            }
            (Column::Seq, BatchRows::Indices(_)) => {
                Arc::new(UInt64Array::from_iter_values(chosen.iter().map(|row| rows.seqs()[row])))
            }
            (Column::First, _) => number(false),
            (Column::Second, _) => number(true),
            (Column::Body, _) => match (rows.text(), chosen) {
                (Some(text), BatchRows::Range(range)) => Arc::new(text.slice(range.start, range.len())),
                (Some(text), BatchRows::Indices(chosen)) => take(text, chosen, None)?,
                (None, _) => Arc::new(self.lossy_bodies(chosen)),
            },
            (Column::BodyBytes, _) => match rows.text() {
                // All bodies are UTF-8, so the column `body` has them without a loss.
                Some(_) => new_null_array(&DataType::Binary, chosen.len()),
                None => Arc::new(self.body_bytes(chosen)),
            },
            (Column::Title | Column::EventBody, _) => {
                let wanted = if column == Column::Title { 1 } else { 2 };
                let mut texts = StringViewBuilder::with_capacity(chosen.len());
                chosen
                    .iter()
                    .for_each(|row| texts.append_value(text_field(rows.payload(row), wanted)));
                Arc::new(texts.finish())
            }
            _ => {
                return Err(ArrowError::InvalidArgumentError(format!(
                    "column {column:?} is not of this table"
                )));
            }
        })
    }

    /// Returns the bodies with U+FFFD in place of invalid bytes.
    fn lossy_bodies(&self, chosen: &BatchRows) -> StringArray {
        let mut bodies = StringBuilder::new();
        for row in chosen.iter() {
            for piece in self.rows.payload(row).utf8_chunks() {
                // Writing to the builder appends to its current value, and cannot fail.
                std::fmt::Write::write_str(&mut bodies, piece.valid()).ok();
                if !piece.invalid().is_empty() {
                    std::fmt::Write::write_char(&mut bodies, char::REPLACEMENT_CHARACTER).ok();
                }
            }
            bodies.append_value("");
        }
        bodies.finish()
    }

    /// Returns the bytes of the bodies that are not UTF-8, and null for the others.
    fn body_bytes(&self, chosen: &BatchRows) -> BinaryArray {
        let mut bodies = BinaryBuilder::new();
        for row in chosen.iter() {
            let payload = self.rows.payload(row);
            bodies.append_option(std::str::from_utf8(payload).is_err().then_some(payload));
        }
        bodies.finish()
    }

    fn metrics(&self, chosen: &BatchRows) -> Metrics {
        let (mut parents, mut names, mut values) = (Vec::new(), Vec::new(), Vec::new());
        for row in chosen.iter() {
            let first = self.used.first_name[self.rows.shape_index(row)];
            for (name, bits) in (first..).zip(numbers(self.rows.payload(row))) {
                parents.push(index(row));
                names.push(name);
                values.push(f64::from_bits(bits));
            }
        }
        Metrics {
            parents: parents.into(),
            names: names.into(),
            values: values.into(),
        }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let chosen = self.choose()?;
        Some(self.batch(&chosen))
    }
}

impl BatchRows {
    fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::Indices(rows) => rows.len(),
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = usize> + '_> {
        match self {
            Self::Range(range) => Box::new(range.clone()),
            Self::Indices(rows) => Box::new(rows.values().iter().map(|row| *row as usize)),
        }
    }

    fn map(&self, key: impl Fn(usize) -> u32) -> UInt32Array {
        match self {
            Self::Range(range) => UInt32Array::from_iter_values(range.clone().map(key)),
            Self::Indices(rows) => UInt32Array::from_iter_values(rows.values().iter().map(|row| key(*row as usize))),
        }
    }
}

/// The metrics of several gauges, one row for each.
#[derive(Debug)]
struct Metrics {
    parents: UInt32Array,
    names: UInt32Array,
    values: Float64Array,
}

/// Returns the text in field `wanted` of an encoded event.
fn text_field(event: &[u8], wanted: u32) -> &str {
    let mut fields = Fields::new(event).map_while(Result::ok);
    fields
        .find_map(|(number, value)| match value {
            Value::Bytes(bytes) if number == wanted => std::str::from_utf8(bytes).ok(),
            _ => None,
        })
        .unwrap_or_default()
}

fn index(value: usize) -> u32 {
    u32::try_from(value).expect("chunks have far fewer rows")
}
