//! Writes answers as tables of text, for people to read.
//!
//! The widths of the columns must be known before the first line is written, so all rows are measured first and then
//! written.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

use super::cell::{Cell, Cells, Rows, names};
use super::{fit, internal, no_text};
use crate::engine::Answer;
use crate::error::QueryError;

/// A table that is being written.
#[derive(Debug)]
pub(super) struct Table {
    cells: Cells,
    /// The width of each column without the frame, in columns of a terminal.
    widths: Vec<usize>,
    rows: Vec<Size>,
    /// The number of rows that are written.
    written: usize,
    largest_row: usize,
    /// The header line, written with the first rows.
    header: Option<Vec<Cell>>,
}

/// The size of a row.
#[derive(Debug, Clone, Copy)]
struct Size {
    lines: u32,
    /// The bytes beyond one for each column of the terminal.
    extra: u32,
}

impl Size {
    fn bytes(self, line: usize) -> usize {
        (self.lines as usize)
            .saturating_mul(line)
            .saturating_add(self.extra as usize)
    }
}

impl Table {
    /// Measures the rows of an answer.
    ///
    /// # Errors
    /// If a value has no text.
    pub(super) fn measure(answer: &Answer, cells: Cells) -> Result<Self, QueryError> {
        let header: Vec<Cell> = names(&answer.schema);
        let mut widths: Vec<usize> = header.iter().map(Cell::width).collect();
        let mut sizes = Vec::with_capacity(answer.rows);
        for batch in &answer.batches {
            let mut rows = Rows::new(batch, cells).map_err(|error| internal(&error))?;
            while let Some(row) = rows.next().map_err(|error| no_text(&error))? {
                let mut size = Size { lines: 1, extra: 0 };
                for (cell, width) in row.iter().zip(&mut widths) {
                    *width = cell.width().max(*width);
                    size.lines = size.lines.max(count(cell.lines()));
                    size.extra = size.extra.saturating_add(count(cell.extra()));
                }
                sizes.push(size);
            }
        }
        Ok(Self {
            cells,
            largest_row: 0,
            widths,
            rows: sizes,
            written: 0,
            header: Some(header),
        })
    }

    /// The width of the table, in columns of a terminal.
    pub(super) fn width(&self) -> usize {
        // The newline takes no column.
        line_bytes(&self.widths) - 1
    }

    /// Removes the last rows of `answer` that would make the table longer than `max_text` bytes.
    ///
    /// # Errors
    /// If a row would be too large.
    pub(super) fn fit(mut self, answer: &mut Answer, max_text: usize) -> Result<Self, QueryError> {
        let line = line_bytes(&self.widths);
        let frame = frame_bytes(self.header.as_deref().unwrap_or_default(), line);
        let sizes = self.rows.iter().map(|size| size.bytes(line));
        // The frame is written in any case, so only the rest of the text is left for rows.
        let (rows, largest) = fit(answer, sizes, max_text.saturating_sub(frame))?;
        self.rows.truncate(rows);
        self.largest_row = largest.max(line) + rows * size_of::<Size>() + frame;
        Ok(self)
    }

    /// The size of the largest row in bytes, with the memory for the sizes of all rows and the frame.
    pub(super) const fn largest_row(&self) -> usize {
        self.largest_row
    }

    /// Returns the size of each of the next rows, in bytes.
    pub(super) fn row_bytes(&self, rows: usize) -> Vec<usize> {
        let line = line_bytes(&self.widths);
        let next = self.rows.iter().skip(self.written).take(rows);
        next.map(|size| size.bytes(line)).collect()
    }

    /// Writes the next rows.
    pub(super) fn write(&mut self, batch: &RecordBatch, text: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.write_header(text);
        let mut rows = Rows::new(batch, self.cells)?;
        while let Some(row) = rows.next()? {
            self.write_cells(row, text);
        }
        self.written += batch.num_rows();
        Ok(())
    }

    /// Writes the end of the table.
    pub(super) fn finish(&mut self, text: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.write_header(text);
        self.write_border(text);
        Ok(())
    }

    fn write_header(&mut self, text: &mut Vec<u8>) {
        if let Some(header) = self.header.take() {
            self.write_border(text);
            self.write_cells(&header, text);
            self.write_border(text);
        }
    }

    fn write_border(&self, text: &mut Vec<u8>) {
        text.push(b'+');
        for width in &self.widths {
            text.resize(text.len() + width + 2, b'-');
            text.push(b'+');
        }
        text.push(b'\n');
    }

    fn write_cells(&self, cells: &[Cell], text: &mut Vec<u8>) {
        let lines = cells.iter().map(Cell::lines).max().unwrap_or_default();
        for line in 0..lines.max(1) {
            text.push(b'|');
            for (cell, width) in cells.iter().zip(&self.widths) {
                let (shown, taken) = cell.line(line);
                text.push(b' ');
                text.extend_from_slice(shown.as_bytes());
                text.resize(text.len() + width.saturating_sub(taken) + 1, b' ');
                text.push(b'|');
            }
            text.push(b'\n');
        }
    }
}

/// Returns the size of the frame in bytes: three borders, and the header.
fn frame_bytes(header: &[Cell], line: usize) -> usize {
    let lines = header.iter().map(Cell::lines).max().unwrap_or_default().max(1);
    let extra: usize = header.iter().map(Cell::extra).sum();
    (3 + lines).saturating_mul(line).saturating_add(extra)
}

/// Returns the size of a line in bytes: each cell has a border to its left and a blank on both sides.
fn line_bytes(widths: &[usize]) -> usize {
    widths.iter().map(|width| width + 3).sum::<usize>() + 2
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::cell::{HEIGHT, WIDTH};
    use super::super::tests::answer;
    use super::*;
    use crate::engine::Truncated;

    fn table(answer: &mut Answer, cells: Cells, max_text: usize) -> Result<Table, QueryError> {
        Table::measure(answer, cells)?.fit(answer, max_text)
    }

    fn written(answer: &mut Answer, cells: Cells) -> Vec<String> {
        let mut table = table(answer, cells, 1 << 20).expect("a table");
        let mut text = Vec::new();
        let sizes: usize = table.row_bytes(answer.rows).iter().sum();
        for batch in &answer.batches {
            table.write(batch, &mut text).expect("rows");
        }
        table.finish(&mut text).expect("an end");
        let text = String::from_utf8(text).expect("text");
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let rows: usize = lines[3..lines.len() - 1].iter().map(|line| line.len() + 1).sum();
        assert_eq!(rows, sizes, "rows are as long as was measured");
        lines
    }

    /// Cells are shown with line breaks, wide characters, and escaped control characters.
    #[test]
    fn cells_are_shown() {
        let mut answer = answer(&["a", "one\ntwo\n", "日本", "\u{1b}[2J\r", ""]);
        let shown = ["a", "one", "two", "日本", "\\u{1b}[2J\\r", ""];
        let border = format!("+{}+", "-".repeat(13));
        let mut expected = vec![border.clone(), format!("| {:<11} |", "v"), border.clone()];
        expected.extend(shown.map(|cell| match cell {
            "日本" => "| 日本        |".to_owned(),
            cell => format!("| {cell:<11} |"),
        }));
        expected.push(border);
        assert_eq!(written(&mut answer, Cells::Cut), expected);
    }

    /// Cells that are too wide or too high are cut and marked, and are whole if that is asked for.
    #[test]
    fn cells_are_cut() {
        let (wide, high) = ("x".repeat(60_000), "y\n".repeat(1_000));
        let lines = written(&mut answer(&[&wide, &high, "z"]), Cells::Cut);
        assert_eq!(lines.len(), 3 + 1 + HEIGHT + 1 + 1 + 1);
        assert_eq!(lines[3], format!("| {}… |", "x".repeat(WIDTH - 1)));
        assert_eq!(lines[3 + 1 + HEIGHT].trim_matches(['|', ' ']), "…");
        let lines = written(&mut answer(&[&wide, "z"]), Cells::Whole);
        assert_eq!(lines[3], format!("| {wide} |"));
    }

    /// The padding of a table with one wide cell and many rows is bounded: rows are left out, or the table is refused.
    #[test]
    fn padding_is_bounded() {
        let wide = "x".repeat(60_000);
        let mut values = vec!["y"; 1_000];
        values.push(&wide);
        let mut answer = answer(&values);
        let lines = written(&mut answer, Cells::Whole);
        assert_eq!((answer.rows, answer.truncated), (13, Some(Truncated::Bytes)));
        assert_eq!(lines.len(), 3 + 13 + 1);
        let high = "y\n".repeat(1_000);
        let error = table(&mut self::answer(&[&wide, &high]), Cells::Whole, usize::MAX).expect_err("60 MB");
        assert!(matches!(error, QueryError::RowTooLarge { .. }), "{error}");
    }
}
