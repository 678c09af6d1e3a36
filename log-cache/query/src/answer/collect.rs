//! Collects the rows of an answer, as many as it may have.
//!
//! Three bounds decide, all of them before the first byte is sent: a number of rows, the bytes that are held, and the bytes
//! of text that will be made of them. A row that exceeds the last two ends the answer, which is then marked as cut short;
//! a single row of more than [`MAX_ROW`] bytes is an error, for a row is written in one piece. What is held are copies: an
//! answer never keeps alive more than it shows.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};

use super::{Format, internal, plain};
use crate::engine::{Answer, Truncated};
use crate::error::QueryError;

/// Most bytes of one row of an answer.
pub(crate) const MAX_ROW: usize = 8 << 20;

/// Longest name of a column of an answer, in bytes. The planner writes an expression longer than its author did.
const MAX_NAME: usize = 4 << 10;

/// Bytes that a number or a point in time takes as text, with what stands between cells.
const CELL: usize = 24;

/// Bytes that a batch and each of its columns take beside their values.
const BATCH: usize = 64;
const COLUMN: usize = 160;

/// Bounds of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Most rows.
    pub(crate) rows: usize,
    /// Most bytes that are held.
    pub(crate) held: usize,
    /// Most bytes of text.
    pub(crate) text: usize,
}

/// An answer that is being collected.
#[derive(Debug)]
pub(crate) struct Collector {
    answer: Answer,
    bounds: Bounds,
    /// Text of each row beside its values.
    row_text: usize,
    text: usize,
}

impl Collector {
    /// An empty answer with the columns of `schema`, to be written as `format`.
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

    /// Takes as many rows of `batch` as there is room for. Returns whether there is room for more.
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

    /// What was collected.
    pub(crate) fn finish(self) -> Answer {
        self.answer
    }
}

/// A batch in parts whose rows have about `bytes` together, for what is written as soon as it is found.
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

/// Bytes of text that a row has in some format beside its values: names, and what stands between cells.
pub(super) fn row_text(schema: &SchemaRef, format: Format) -> usize {
    let named = matches!(format, Format::Json | Format::Ndjson);
    let cell = |name: &str| CELL + if named { name.len() } else { 0 };
    schema.fields().iter().map(|field| cell(field.name())).sum()
}

/// For each row of a batch, the bytes of its values, whatever they share with others.
pub(crate) fn row_bytes(batch: &RecordBatch) -> Vec<usize> {
    let mut sizes = vec![0; batch.num_rows()];
    for column in batch.columns() {
        add(column, &mut sizes);
    }
    sizes
}

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
            // As text, each value of a struct stands behind its name, in every row again.
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
            // What is neither of a fixed width nor above is rare: each row counts as all of them.
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

/// The lowest 32 bits of a view are its length.
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

    /// Texts that rows share count for each of them, and what is kept is what is shown.
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

    /// A few rows of a large batch do not keep all of it.
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

    /// Lists count with all that is in them, and a row that is too large is told.
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
