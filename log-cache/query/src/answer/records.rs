//! Writes answers as records with one line for each column, for people, where a table would be wider than the terminal.
//!
//! ```text
//! -[ record 1 ]-------------------------
//! timestamp | 2026-01-03T10:11:12.345678
//! body      | a first line
//!           | and a second one
//! ```
//!
//! The length of the text must be known before it is written, so all rows are measured first and then written. A line
//! is as long as its value, and the terminal wraps it.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use super::cell::{Cell, Cells, Rows, names};
use super::{fit, internal, no_text};
use crate::engine::Answer;
use crate::error::QueryError;

/// The separator between the name of a column and its value.
const SEPARATOR: &[u8] = b" | ";

/// The longest line above a record if the width of the terminal is not known, in columns.
const RULE: usize = 80;

/// The text of an answer without rows.
const NOTHING: &[u8] = b"(no rows)\n";

/// Records that are being written.
#[derive(Debug)]
pub(super) struct Records {
    cells: Cells,
    names: Vec<Cell>,
    /// The width of the widest name, in columns of the terminal.
    name_width: usize,
    /// The width of the line above each record, in columns.
    rule: usize,
    /// The size of each record, in bytes.
    sizes: Vec<usize>,
    /// The number of records that are written.
    written: usize,
    largest_row: usize,
}

impl Records {
    /// Measures the rows of an answer, for a terminal of `width` columns if that is known, and removes the last ones if
    /// the text would be longer than `max_text` bytes.
    ///
    /// # Errors
    /// If a value has no text, or a record would be too large.
    pub(super) fn new(
        answer: &mut Answer,
        cells: Cells,
        width: Option<usize>,
        max_text: usize,
    ) -> Result<Self, QueryError> {
        let names = names(&answer.schema);
        let name_width = names.iter().map(Cell::width).max().unwrap_or_default();
        let (mut sizes, mut widest) = (Vec::with_capacity(answer.rows), 0);
        for batch in &answer.batches {
            let mut rows = Rows::new(batch, cells).map_err(|error| internal(&error))?;
            while let Some(row) = rows.next().map_err(|error| no_text(&error))? {
                widest = row.iter().map(Cell::width).max().unwrap_or_default().max(widest);
                let fields = names.iter().zip(row);
                sizes.push(fields.map(|(name, value)| field_bytes(name_width, name, value)).sum());
            }
        }
        let rule = (name_width + SEPARATOR.len() + widest).min(width.unwrap_or(RULE));
        // The line above a record belongs to its size. Its width is known only now that all rows are measured.
        for (row, size) in sizes.iter_mut().enumerate() {
            *size += label(row + 1).len().max(rule) + 1;
        }
        let (rows, largest_row) = fit(answer, sizes.iter().copied(), max_text)?;
        sizes.truncate(rows);
        Ok(Self {
            cells,
            names,
            name_width,
            rule,
            largest_row: largest_row + size_of_val(sizes.as_slice()) + NOTHING.len(),
            sizes,
            written: 0,
        })
    }

    /// The size of the largest record in bytes, with the memory for the sizes of all records.
    pub(super) const fn largest_row(&self) -> usize {
        self.largest_row
    }

    /// Returns the size of each of the next rows, in bytes.
    pub(super) fn row_bytes(&self, rows: usize) -> Vec<usize> {
        self.sizes.iter().skip(self.written).take(rows).copied().collect()
    }

    /// Writes the next rows.
    pub(super) fn write(&mut self, batch: &RecordBatch, text: &mut Vec<u8>) -> Result<(), ArrowError> {
        let mut rows = Rows::new(batch, self.cells)?;
        while let Some(row) = rows.next()? {
            self.written += 1;
            let label = label(self.written);
            text.extend_from_slice(label.as_bytes());
            text.resize(text.len() + self.rule.saturating_sub(label.len()), b'-');
            text.push(b'\n');
            for (name, value) in self.names.iter().zip(row) {
                self.write_field(name, value, text);
            }
        }
        Ok(())
    }

    /// Writes the end of the text, which only an answer without rows has.
    pub(super) fn finish(&self, text: &mut Vec<u8>) {
        if self.written == 0 {
            text.extend_from_slice(NOTHING);
        }
    }

    fn write_field(&self, name: &Cell, value: &Cell, text: &mut Vec<u8>) {
        for line in 0..lines(name, value) {
            let (shown, taken) = name.line(line);
            text.extend_from_slice(shown.as_bytes());
            text.resize(text.len() + self.name_width.saturating_sub(taken), b' ');
            text.extend_from_slice(SEPARATOR);
            text.extend_from_slice(value.line(line).0.as_bytes());
            text.push(b'\n');
        }
    }
}

/// Returns the start of the line above a record. Records are counted from 1.
fn label(record: usize) -> String {
    format!("-[ record {record} ]-")
}

fn lines(name: &Cell, value: &Cell) -> usize {
    name.lines().max(value.lines()).max(1)
}

/// Returns the size of all lines of a column, in bytes.
fn field_bytes(name_width: usize, name: &Cell, value: &Cell) -> usize {
    let padded = name_width + SEPARATOR.len() + 1;
    lines(name, value)
        .saturating_mul(padded)
        .saturating_add(name.extra() + value.bytes())
}

#[cfg(test)]
mod tests {
    use super::super::tests::answer;
    use super::*;
    use crate::engine::Truncated;

    fn written(answer: &mut Answer, cells: Cells, width: Option<usize>, max_text: usize) -> String {
        let mut records = Records::new(answer, cells, width, max_text).expect("records");
        let sizes: usize = records.row_bytes(answer.rows).iter().sum();
        let mut text = Vec::new();
        for batch in &answer.batches {
            records.write(batch, &mut text).expect("rows");
        }
        assert_eq!(text.len(), sizes, "records are as long as was measured");
        records.finish(&mut text);
        String::from_utf8(text).expect("text")
    }

    /// Lines of a value stand below each other, control characters are escaped, and the line above a record is not
    /// wider than the terminal.
    #[test]
    fn records_are_shown() {
        let mut answer = answer(&["one\ntwo", "日本\r", "", &"x".repeat(30)]);
        let expected = "\
            -[ record 1 ]-------\n\
            v | one\n  | two\n\
            -[ record 2 ]-------\n\
            v | 日本\\r\n\
            -[ record 3 ]-------\n\
            v | \n\
            -[ record 4 ]-------\n\
            v | xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n";
        assert_eq!(written(&mut answer, Cells::Cut, Some(20), 1 << 20), expected);
    }

    /// An answer without rows has a text that says so.
    #[test]
    fn no_rows_are_said() {
        assert_eq!(written(&mut answer(&[]), Cells::Cut, None, 1 << 20), "(no rows)\n");
    }

    /// Records beyond the limit are left out and the answer says so. A record that is too large alone is refused.
    #[test]
    fn records_are_bounded() {
        let mut answer = answer(&["x"; 100]);
        let text = written(&mut answer, Cells::Cut, None, 100);
        assert_eq!((answer.rows, answer.truncated), (4, Some(Truncated::Bytes)));
        assert_eq!(text.len(), 4 * "-[ record 1 ]-\nv | x\n".len());
        let high = "\n".repeat(4 << 20);
        let error = Records::new(&mut self::answer(&[&high]), Cells::Whole, None, usize::MAX).expect_err("20 MB");
        assert!(matches!(error, QueryError::RowTooLarge { .. }), "{error}");
    }
}
