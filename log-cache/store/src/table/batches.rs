//! Record batches of selected rows.

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

use super::values::Used;
use super::{Column, Table};
use crate::rows::Rows;
use crate::shape::{numbers, pair};
use crate::snapshot::Selection;

/// Rows of a batch, if nothing else is said.
const BATCH_ROWS: usize = 8192;

/// Payload for each row that a batch may have; it ends with whichever is reached first, but has a row at least.
const BYTES_PER_ROW: usize = 512;

/// Iterates over selected rows of a chunk as record batches of some of a table's columns.
#[derive(Debug)]
pub struct Batches {
    table: Table,
    rows: Arc<Rows>,
    schema: SchemaRef,
    columns: Vec<(Column, Option<ArrayRef>)>,
    used: Used,
    /// What is left, and how much of its first range was taken.
    selection: Selection,
    range: usize,
    taken: usize,
    batch_rows: usize,
}

/// The rows of one batch.
#[derive(Debug)]
enum Chosen {
    /// Rows that follow each other: their columns are shared.
    Together(Range<usize>),
    /// Rows picked one by one.
    Apart(UInt32Array),
}

impl Batches {
    /// Batches of the rows in `selection`; `columns` are positions in the table's schema.
    ///
    /// # Panics
    /// If the rows are of another kind than the table, or a column does not exist.
    #[must_use]
    pub fn new(table: Table, rows: Arc<Rows>, selection: Selection, columns: &[usize]) -> Self {
        assert_eq!(table.kind(), rows.kind(), "rows of the table's kind");
        let all: Vec<Column> = table.columns().map(|(_, column)| column).collect();
        let schema = Arc::new(table.schema().project(columns).expect("columns of the table's schema"));
        let used = Used::of(&rows, &selection);
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

    /// Batches of at most so many rows, and of payload in proportion.
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

    /// The next rows, as many as make a batch.
    fn choose(&mut self) -> Option<Chosen> {
        let gauges = self.table == Table::Gauges;
        let mut chosen: Vec<Range<usize>> = Vec::new();
        let (mut weight, mut bytes) = (0usize, 0usize);
        let full = |weight, bytes| weight >= self.batch_rows || bytes >= self.batch_rows * BYTES_PER_ROW;
        while let Some(range) = self.selection.ranges().get(self.range) {
            let start = range.start + self.taken;
            let mut end = start;
            while end < range.end && !full(weight, bytes) {
                let payload = self.rows.payload(end).len();
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
            Ok([together]) => Some(Chosen::Together(together)),
            Err(chosen) if chosen.is_empty() => None,
            Err(chosen) => {
                let rows = chosen.into_iter().flatten().map(index);
                Some(Chosen::Apart(UInt32Array::from_iter_values(rows)))
            }
        }
    }

    fn batch(&self, chosen: &Chosen) -> Result<RecordBatch, ArrowError> {
        // A gauge's row becomes one for each of its metrics; everything else of it is repeated.
        let metrics = (self.table == Table::Gauges).then(|| self.metrics(chosen));
        let (parents, len) = match &metrics {
            Some(metrics) => (&Chosen::Apart(metrics.parents.clone()), metrics.parents.len()),
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

    /// For each row, where its value lies in the shared ones.
    fn keys(&self, column: Column, chosen: &Chosen) -> UInt32Array {
        let rows = &self.rows;
        match column {
            Column::Stream => chosen.map(|row| u32::from(rows.stream(row) == weir_envelope::view::Stream::Err)),
            Column::Name => chosen.map(|row| self.used.first_name[rows.shape_index(row)]),
            _ => chosen.map(|row| index(rows.identity_index(row))),
        }
    }

    /// A column that is every row's own.
    fn own(&self, column: Column, chosen: &Chosen) -> Result<ArrayRef, ArrowError> {
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
            (Column::Timestamp, Chosen::Together(range)) => instant(rows.timestamps().slice(range.start, range.len())),
            (Column::Timestamp, Chosen::Apart(_)) => instant(chosen.iter().map(|row| rows.timestamps()[row]).collect()),
            (Column::Seq, Chosen::Together(range)) => {
                Arc::new(UInt64Array::new(rows.seqs().slice(range.start, range.len()), None))
            }
            (Column::Seq, Chosen::Apart(_)) => {
                Arc::new(UInt64Array::from_iter_values(chosen.iter().map(|row| rows.seqs()[row])))
            }
            (Column::First, _) => number(false),
            (Column::Second, _) => number(true),
            (Column::Body, _) => match (rows.text(), chosen) {
                (Some(text), Chosen::Together(range)) => Arc::new(text.slice(range.start, range.len())),
                (Some(text), Chosen::Apart(chosen)) => take(text, chosen, None)?,
                (None, _) => Arc::new(self.lossy_bodies(chosen)),
            },
            (Column::BodyBytes, _) => match rows.text() {
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

    fn lossy_bodies(&self, chosen: &Chosen) -> StringArray {
        let mut bodies = StringBuilder::new();
        for row in chosen.iter() {
            for piece in self.rows.payload(row).utf8_chunks() {
                // Appends to the value that is being built, and cannot fail.
                std::fmt::Write::write_str(&mut bodies, piece.valid()).ok();
                if !piece.invalid().is_empty() {
                    std::fmt::Write::write_char(&mut bodies, char::REPLACEMENT_CHARACTER).ok();
                }
            }
            bodies.append_value("");
        }
        bodies.finish()
    }

    fn body_bytes(&self, chosen: &Chosen) -> BinaryArray {
        let mut bodies = BinaryBuilder::new();
        for row in chosen.iter() {
            let payload = self.rows.payload(row);
            bodies.append_option(std::str::from_utf8(payload).is_err().then_some(payload));
        }
        bodies.finish()
    }

    fn metrics(&self, chosen: &Chosen) -> Metrics {
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

impl Chosen {
    fn len(&self) -> usize {
        match self {
            Self::Together(range) => range.len(),
            Self::Apart(rows) => rows.len(),
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = usize> + '_> {
        match self {
            Self::Together(range) => Box::new(range.clone()),
            Self::Apart(rows) => Box::new(rows.values().iter().map(|row| *row as usize)),
        }
    }

    fn map(&self, key: impl Fn(usize) -> u32) -> UInt32Array {
        match self {
            Self::Together(range) => UInt32Array::from_iter_values(range.clone().map(key)),
            Self::Apart(rows) => UInt32Array::from_iter_values(rows.values().iter().map(|row| key(*row as usize))),
        }
    }
}

/// The metrics of some gauges, one below the other.
#[derive(Debug)]
struct Metrics {
    parents: UInt32Array,
    names: UInt32Array,
    values: Float64Array,
}

/// The text in field `wanted` of an event.
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
