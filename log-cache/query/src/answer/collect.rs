//! Collects the rows of an answer within its bounds.
//!
//! Three bounds are checked before the first byte is sent: the number of rows, the memory that they take, and the
//! length of their text. The row that exceeds a bound ends the answer, which is then marked as cut short. A single row
//! of more than [`MAX_ROW`] bytes is an error, because a row is written in one piece. The collected rows are copies, so
//! an answer keeps no other memory alive.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};

use super::{Format, internal, plain};
use crate::engine::{Answer, Truncated};
use crate::error::QueryError;

/// The greatest size of one row of an answer, in bytes.
pub(crate) const MAX_ROW: usize = 8 << 20;

/// The longest name of a column, in bytes. It is longer than [`crate::guard`] allows, because the planner writes the
/// text of an expression in a longer form than its author.
const MAX_NAME: usize = 4 << 10;

/// The length of a number or a point in time as text, with the separator between cells, in bytes.
const CELL: usize = 24;

/// The memory of a batch without its columns, in bytes.
const BATCH: usize = 64;
/// The memory of a column without its values, in bytes.
const COLUMN: usize = 160;

/// The bounds of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The greatest number of rows.
    pub(crate) rows: usize,
    /// The greatest memory of the rows, in bytes.
    pub(crate) held: usize,
    /// The greatest length of the text, in bytes.
    pub(crate) text: usize,
}

/// An answer that is being collected.
#[derive(Debug)]
pub(crate) struct Collector {
    answer: Answer,
    bounds: Bounds,
    /// The length of each row's text without its values, in bytes.
    row_text: usize,
    text: usize,
}

impl Collector {
    /// Returns a collector for an answer with the columns of `schema`, which will be written in `format`.
    ///
    /// # Errors
    /// If the name of a column is too long.
    pub(crate) fn new(schema: &SchemaRef, bounds: Bounds, format: Format) -> Result<Self, QueryError> {
        if let Some(field) = schema.fields().iter().find(|field| field.name().len() > MAX_NAME) {
            return Err(QueryError::NameTooLong {
                found: field.name().len(),
                allowed: MAX_NAME,
            });
        }
        Ok(Self {
            answer: Answer {
                schema: plain::plain_schema(schema),
                batches: Vec::new(),
                rows: 0,
                truncated: None,
                held: 0,
                largest: 0,
            },
            row_text: row_text(schema, format),
            bounds,
            text: 0,
        })
    }

    /// Adds as many rows of `batch` as there is room for. Returns whether there is room for more.
    ///
    /// # Errors
    /// If a row is too large.
    pub(crate) fn push(&mut self, batch: &RecordBatch) -> Result<bool, QueryError> {
        let answer = &mut self.answer;
        let mut rows = batch.num_rows();
        if rows > self.bounds.rows - answer.rows {
            rows = self.bounds.rows - answer.rows;
            answer.truncated = Some(Truncated::Rows);
        }
        let batch = batch.slice(0, rows);
        answer.held += BATCH + COLUMN * batch.num_columns();
        let mut taken = 0;
        for size in row_bytes(&batch) {
            allow_row(size)?;
            if answer.held + size > self.bounds.held || self.text + size + self.row_text > self.bounds.text {
                answer.truncated = Some(Truncated::Bytes);
                break;
            }
            answer.held += size;
            self.text += size + self.row_text;
            answer.largest = answer.largest.max(size);
            taken += 1;
        }
        if taken > 0 {
            let batch = plain::plain(&answer.schema, &batch.slice(0, taken)).map_err(|error| internal(&error))?;
            answer.batches.push(batch);
            answer.rows += taken;
        }
        Ok(answer.truncated.is_none())
    }

    /// Returns the collected answer.
    pub(crate) fn finish(self) -> Answer {
        self.answer
    }
}

/// Cuts a batch into parts of about `bytes` bytes, for results that are written as soon as they are found.
///
/// # Errors
/// If a row is too large.
pub(crate) fn portions(batch: &RecordBatch, bytes: usize) -> Result<Vec<RecordBatch>, QueryError> {
    let (mut parts, mut start, mut taken) = (Vec::new(), 0, 0);
    for (row, size) in row_bytes(batch).into_iter().enumerate() {
        allow_row(size)?;
        taken += size;
        if taken >= bytes || row + 1 == batch.num_rows() {
            parts.push(batch.slice(start, row + 1 - start));
            (start, taken) = (row + 1, 0);
        }
    }
    Ok(parts)
}

fn allow_row(bytes: usize) -> Result<(), QueryError> {
    if bytes > MAX_ROW {
        return Err(QueryError::RowTooLarge {
            found: bytes,
            allowed: MAX_ROW,
        });
    }
    Ok(())
}

/// Returns the length of a row's text in a format without its values, in bytes: names, and separators between cells.
pub(super) fn row_text(schema: &SchemaRef, format: Format) -> usize {
    let named = matches!(format, Format::Json | Format::Ndjson);
    let cell = |name: &str| CELL + if named { name.len() } else { 0 };
    schema.fields().iter().map(|field| cell(field.name())).sum()
}

/// Returns the size of each row's values in bytes. A value that rows share counts for each of them.
pub(crate) fn row_bytes(batch: &RecordBatch) -> Vec<usize> {
    let mut sizes = vec![0; batch.num_rows()];
    for column in batch.columns() {
        add(column, &mut sizes);
    }
    sizes
}

/// Adds the size of each value of an array to `sizes`.
fn add(array: &dyn Array, sizes: &mut [usize]) {
    match array.data_type() {
        DataType::Utf8 => add_lengths(array.as_string::<i32>().value_offsets(), sizes),
        DataType::LargeUtf8 => add_lengths(array.as_string::<i64>().value_offsets(), sizes),
        DataType::Binary => add_lengths(array.as_binary::<i32>().value_offsets(), sizes),
        DataType::LargeBinary => add_lengths(array.as_binary::<i64>().value_offsets(), sizes),
        DataType::Utf8View => add_views(array.as_string_view().views(), sizes),
        DataType::BinaryView => add_views(array.as_binary_view().views(), sizes),
        DataType::List(_) => add_lists(
            array.as_list::<i32>().values(),
            array.as_list::<i32>().value_offsets(),
            sizes,
        ),
        DataType::LargeList(_) => add_lists(
            array.as_list::<i64>().values(),
            array.as_list::<i64>().value_offsets(),
            sizes,
        ),
        DataType::Map(..) => add_lists(array.as_map().entries(), array.as_map().value_offsets(), sizes),
        DataType::Struct(_) => {
            let fields = array.as_struct();
            // As text, a value of a struct has its name before it, in every row.
            let names: usize = fields.column_names().iter().map(|name| name.len()).sum();
            sizes.iter_mut().for_each(|size| *size += names);
            for column in fields.columns() {
                add(column, sizes);
            }
        }
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let mut values = vec![0; dictionary.values().len()];
            add(dictionary.values(), &mut values);
            let keys = if values.is_empty() {
                vec![0; sizes.len()]
            } else {
                dictionary.normalized_keys()
            };
            for (size, key) in sizes.iter_mut().zip(keys) {
                *size += values.get(key).copied().unwrap_or_default();
            }
        }
        data_type => {
            // Other types of variable width are rare: each row counts as the whole array.
            let width = match data_type {
                DataType::Null | DataType::Boolean => 1,
                DataType::FixedSizeBinary(width) => usize::try_from(*width).unwrap_or_default(),
                data_type => data_type
                    .primitive_width()
                    .unwrap_or_else(|| array.get_array_memory_size()),
            };
            sizes.iter_mut().for_each(|size| *size += width);
        }
    }
}

fn add_lengths<O: Copy + TryInto<usize>>(offsets: &[O], sizes: &mut [usize]) {
    for (size, offsets) in sizes.iter_mut().zip(offsets.windows(2)) {
        *size += size_of::<O>() + position(offsets[1]) - position(offsets[0]);
    }
}

/// Adds the sizes of views, of which the lowest 32 bits are the length.
fn add_views(views: &[u128], sizes: &mut [usize]) {
    for (size, view) in sizes.iter_mut().zip(views) {
        *size += size_of::<u128>() + usize::try_from(view & u128::from(u32::MAX)).unwrap_or_default();
    }
}

fn add_lists<O: Copy + TryInto<usize>>(values: &dyn Array, offsets: &[O], sizes: &mut [usize]) {
    let (Some(start), Some(end)) = (
        offsets.first().copied().map(position),
        offsets.last().copied().map(position),
    ) else {
        return;
    };
    let mut elements = vec![0; end - start];
    add(&*values.slice(start, end - start), &mut elements);
    for (size, offsets) in sizes.iter_mut().zip(offsets.windows(2)) {
        let range = position(offsets[0]) - start..position(offsets[1]) - start;
        *size += size_of::<O>() + elements[range].iter().sum::<usize>();
    }
}

fn position<O: TryInto<usize>>(offset: O) -> usize {
    offset.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, ListArray, StringArray, StringViewArray};
    use arrow::datatypes::{Field, Int32Type, Schema};

    use super::*;

    fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
        let fields: Vec<Field> = columns
            .iter()
            .enumerate()
            .map(|(index, column)| Field::new(index.to_string(), column.data_type().clone(), true))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a batch")
    }

    fn collector(batch: &RecordBatch, held: usize, text: usize) -> Collector {
        let bounds = Bounds {
            rows: 1_000_000,
            held,
            text,
        };
        Collector::new(&batch.schema(), bounds, Format::Csv).expect("short names")
    }

    /// A text that rows share counts for each of them, and only the rows of the answer are kept.
    #[test]
    fn shared_texts_count_for_each_row() {
        let text = "x".repeat(1000);
        let mut views = arrow::array::StringViewBuilder::new().with_deduplicate_strings();
        (0..1000).for_each(|_| views.append_value(&text));
        let views: StringViewArray = views.finish();
        let batch = batch(vec![Arc::new(views)]);
        assert!(batch.get_array_memory_size() < 100_000, "they share it");
        assert_eq!(row_bytes(&batch), vec![1016; 1000]);
        let mut answer = collector(&batch, 100_000, usize::MAX);
        assert!(!answer.push(&batch).expect("small rows"), "it is full");
        let answer = answer.finish();
        assert_eq!((answer.rows, answer.truncated), (98, Some(Truncated::Bytes)));
        let kept: usize = answer.batches.iter().map(RecordBatch::get_array_memory_size).sum();
        assert!((98_000..200_000).contains(&kept), "{kept}");
    }

    /// A few rows of a large batch do not keep the batch in memory.
    #[test]
    fn slices_are_copied() {
        let texts: StringArray = (0..10_000).map(|_| Some("x".repeat(100))).collect();
        let batch = batch(vec![Arc::new(texts)]);
        let mut answer = collector(&batch, usize::MAX, usize::MAX);
        assert!(answer.push(&batch.slice(5_000, 10)).expect("small rows"));
        let answer = answer.finish();
        assert_eq!(answer.rows, 10);
        assert!(answer.batches[0].get_array_memory_size() < 20_000);
    }

    /// Lists count with all of their elements, and a row that is too large is an error.
    #[test]
    fn lists_count_with_their_elements() {
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>(vec![
            Some(vec![Some(1); 10]),
            None,
            Some(vec![Some(1); 3_000_000]),
        ]);
        let batch = batch(vec![Arc::new(list)]);
        assert_eq!(row_bytes(&batch), [44, 4, 12_000_004]);
        assert_eq!(row_bytes(&batch.slice(1, 1)), [4]);
        let mut answer = collector(&batch, usize::MAX, usize::MAX);
        let error = answer.push(&batch).expect_err("12 MB");
        assert!(portions(&batch, 40).is_err());
        assert_eq!(portions(&batch.slice(0, 2), 40).expect("small rows").len(), 2);
        assert_eq!(portions(&batch.slice(0, 2), 45).expect("small rows").len(), 1);
        assert!(matches!(error, QueryError::RowTooLarge { found: 12_000_004, .. }));
    }
}
