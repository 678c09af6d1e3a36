//! Writes answers as tables of text, for people to read.
//!
//! The widths of the columns must be known before the first line is written, so all rows are measured first and then written.
//! Cells that would make a table unreadable are cut and marked with `…`. A line break starts a new line of the cell. Other
//! characters that control a terminal are escaped as in Rust (`\u{1b}`).

use std::fmt::{self, Write as _};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use unicode_width::UnicodeWidthChar as _;

use super::internal;
use crate::engine::{Answer, Truncated};
use crate::error::QueryError;

/// The widest line of a cell that is cut, in columns of a terminal.
const WIDTH: usize = 500;

/// The greatest number of lines of a cell that is cut.
const HEIGHT: usize = 200;

/// The greatest size of one row of a table in bytes: all of its lines with their padding.
const MAX_TABLE_ROW: usize = 16 << 20;

/// The mark for text that was left out.
const MARK: char = '…';

/// The part of a cell that a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cells {
    /// At most 200 lines of 500 columns.
    #[default]
    Cut,
    /// The whole cell.
    Whole,
}

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
    /// Measures the rows of an answer, and removes the last ones if the table would be longer than `max_text` bytes.
    ///
    /// # Errors
    /// If a row would be too large, or if a value has no text.
    pub(super) fn new(answer: &mut Answer, cells: Cells, max_text: usize) -> Result<Self, QueryError> {
        let header: Vec<Cell> = names(&answer.schema);
        let mut widths: Vec<usize> = header.iter().map(Cell::width).collect();
        let mut rows = Vec::with_capacity(answer.rows);
        let mut cell = Cell::new(cells);
        for batch in &answer.batches {
            let formatters = formatters(batch).map_err(|error| internal(&error))?;
            for row in 0..batch.num_rows() {
                let mut size = Size { lines: 1, extra: 0 };
                for (formatter, width) in formatters.iter().zip(&mut widths) {
                    cell.fill(formatter, row).map_err(|error| QueryError::Failed {
                        message: format!("a value has no text: {error}"),
                    })?;
                    *width = cell.width().max(*width);
                    size.lines = size.lines.max(count(cell.lines.len()));
                    size.extra = size.extra.saturating_add(count(cell.extra()));
                }
                rows.push(size);
            }
        }
        let line = line_bytes(&widths);
        let largest_row = rows.iter().map(|size| size.bytes(line)).max().unwrap_or(line);
        if largest_row > MAX_TABLE_ROW {
            return Err(QueryError::RowTooLarge {
                found: largest_row,
                allowed: MAX_TABLE_ROW,
            });
        }
        let frame = frame_bytes(&header, line);
        let mut left = max_text.saturating_sub(frame);
        let fits = rows
            .iter()
            .take_while(|size| {
                let bytes = size.bytes(line);
                let fits = bytes <= left;
                left = left.saturating_sub(bytes);
                fits
            })
            .count();
        if fits < rows.len() {
            rows.truncate(fits);
            cut(answer, fits);
        }
        Ok(Self {
            cells,
            largest_row: largest_row + rows.len() * size_of::<Size>() + frame,
            widths,
            rows,
            written: 0,
            header: Some(header),
        })
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
    pub(super) fn write(&mut self, rows: &RecordBatch, text: &mut Vec<u8>) -> Result<(), ArrowError> {
        self.write_header(text);
        let formatters = formatters(rows)?;
        let mut cells: Vec<Cell> = formatters.iter().map(|_| Cell::new(self.cells)).collect();
        for row in 0..rows.num_rows() {
            for (formatter, cell) in formatters.iter().zip(&mut cells) {
                cell.fill(formatter, row)?;
            }
            self.write_cells(&cells, text);
        }
        self.written += rows.num_rows();
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
        let lines = cells.iter().map(|cell| cell.lines.len()).max().unwrap_or_default();
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

/// Keeps the first rows of an answer, and marks it as cut short by its size.
fn cut(answer: &mut Answer, rows: usize) {
    let mut left = rows;
    answer.batches.retain_mut(|batch| {
        let taken = batch.num_rows().min(left);
        left -= taken;
        *batch = batch.slice(0, taken);
        taken > 0
    });
    answer.rows = rows;
    answer.truncated = Some(Truncated::Bytes);
}

/// Returns the size of the frame in bytes: three borders, and the header.
fn frame_bytes(header: &[Cell], line: usize) -> usize {
    let lines = header
        .iter()
        .map(|cell| cell.lines.len())
        .max()
        .unwrap_or_default()
        .max(1);
    let extra: usize = header.iter().map(Cell::extra).sum();
    (3 + lines).saturating_mul(line).saturating_add(extra)
}

/// Returns the size of a line in bytes: each cell has a border to its left and a blank on both sides.
fn line_bytes(widths: &[usize]) -> usize {
    widths.iter().map(|width| width + 3).sum::<usize>() + 2
}

fn names(schema: &Schema) -> Vec<Cell> {
    let name = |name: &String| {
        let mut cell = Cell::new(Cells::Cut);
        // An error only means that the cell is full, and the rest is left out.
        cell.write_str(name).ok();
        cell.end();
        cell
    };
    schema.fields().iter().map(|field| name(field.name())).collect()
}

fn formatters(batch: &RecordBatch) -> Result<Vec<ArrayFormatter<'_>>, ArrowError> {
    static OPTIONS: FormatOptions<'static> = FormatOptions::new();
    let columns = batch.columns().iter();
    columns
        .map(|column| ArrayFormatter::try_new(column, &OPTIONS))
        .collect()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// The text that a table shows for a value.
#[derive(Debug)]
struct Cell {
    cells: Cells,
    text: String,
    /// The offset of each line's end in the text, and the line's width in columns of the terminal.
    lines: Vec<(usize, usize)>,
    /// The width of the line that is being written.
    width: usize,
    /// Whether a part of that line was left out.
    cut: bool,
    /// Whether the cell has its greatest number of lines.
    full: bool,
}

impl Cell {
    fn new(cells: Cells) -> Self {
        Self {
            cells,
            text: String::new(),
            lines: Vec::new(),
            width: 0,
            cut: false,
            full: false,
        }
    }

    /// Replaces the text by that of another value.
    fn fill(&mut self, formatter: &ArrayFormatter<'_>, row: usize) -> Result<(), ArrowError> {
        self.text.clear();
        self.lines.clear();
        (self.width, self.cut, self.full) = (0, false, false);
        let written = formatter.value(row).write(self);
        // A full cell returns an error to end the writing early.
        if self.full {
            Ok(())
        } else {
            written.map(|()| self.end())
        }
    }

    /// Ends the last line. An empty last line counts only if it is the only one.
    fn end(&mut self) {
        let start = self.lines.last().map_or(0, |(end, _)| *end);
        if self.lines.is_empty() || self.text.len() > start {
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        self.lines.push((self.text.len(), self.width));
        (self.width, self.cut) = (0, false);
    }

    fn push(&mut self, character: char) -> fmt::Result {
        if character == '\n' {
            self.end_line();
            if self.cells == Cells::Cut && self.lines.len() == HEIGHT {
                self.text.push(MARK);
                self.width = 1;
                self.end_line();
                self.full = true;
                return Err(fmt::Error);
            }
            return Ok(());
        }
        if self.cut {
            return Ok(());
        }
        if controls_terminal(character) {
            return character.escape_default().try_for_each(|escaped| self.show(escaped, 1));
        }
        self.show(character, character.width().unwrap_or_default())
    }

    fn show(&mut self, character: char, width: usize) -> fmt::Result {
        if self.cut {
            return Ok(());
        }
        if self.cells == Cells::Cut && self.width + width >= WIDTH {
            self.text.push(MARK);
            self.width += 1;
            self.cut = true;
        } else {
            self.text.push(character);
            self.width += width;
        }
        Ok(())
    }

    /// The width of the widest line, in columns of the terminal.
    fn width(&self) -> usize {
        self.lines.iter().map(|(_, width)| *width).max().unwrap_or_default()
    }

    /// The bytes beyond one for each column of the terminal.
    fn extra(&self) -> usize {
        let shown: usize = self.lines.iter().map(|(_, width)| *width).sum();
        self.text.len().saturating_sub(shown)
    }

    /// Returns the text of a line, and its width in columns of the terminal.
    fn line(&self, line: usize) -> (&str, usize) {
        let start = line
            .checked_sub(1)
            .map_or(0, |before| self.lines.get(before).map_or(0, |(end, _)| *end));
        match self.lines.get(line) {
            Some((end, width)) => (&self.text[start..*end], *width),
            None => ("", 0),
        }
    }
}

impl fmt::Write for Cell {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|character| self.push(character))
    }
}

/// Whether a character controls a terminal instead of being shown.
fn controls_terminal(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;
    use arrow::datatypes::{DataType, Field};

    use super::*;

    fn answer(values: &[&str]) -> Answer {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Utf8, false)]));
        let array = Arc::new(StringArray::from_iter_values(values));
        Answer {
            batches: vec![RecordBatch::try_new(Arc::clone(&schema), vec![array]).expect("a batch")],
            schema,
            rows: values.len(),
            truncated: None,
            held: 0,
            largest: 0,
        }
    }

    fn written(answer: &mut Answer, cells: Cells) -> Vec<String> {
        let mut table = Table::new(answer, cells, 1 << 20).expect("a table");
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
        let error = Table::new(&mut self::answer(&[&wide, &high]), Cells::Whole, usize::MAX).expect_err("60 MB");
        assert!(matches!(error, QueryError::RowTooLarge { .. }), "{error}");
    }
}
