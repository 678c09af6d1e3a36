//! Shows values to people: lines of text with their widths on a terminal.
//!
//! A value that would make an answer unreadable is cut and marked with `…`. A line break starts a new line of the cell.
//! Other characters that control a terminal are escaped as in Rust (`\u{1b}`).

use std::fmt::{self, Write as _};

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use unicode_width::UnicodeWidthChar as _;

/// The widest line of a cell that is cut, in columns of a terminal.
pub(super) const WIDTH: usize = 500;

/// The greatest number of lines of a cell that is cut.
pub(super) const HEIGHT: usize = 200;

/// The mark for text that was left out.
const MARK: char = '…';

/// How much of a value is shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cells {
    /// At most 200 lines of 500 columns.
    #[default]
    Cut,
    /// The whole value.
    Whole,
}

/// The rows of a batch as cells, one after the other.
pub(super) struct Rows<'a> {
    formatters: Vec<ArrayFormatter<'a>>,
    cells: Vec<Cell>,
    next: usize,
    rows: usize,
}

impl<'a> Rows<'a> {
    /// # Errors
    /// If a column has a type that has no text, which is a fault of this crate.
    pub(super) fn new(batch: &'a RecordBatch, cells: Cells) -> Result<Self, ArrowError> {
        static OPTIONS: FormatOptions<'static> = FormatOptions::new();
        let formatters = batch.columns().iter();
        let formatters: Vec<_> = formatters
            .map(|column| ArrayFormatter::try_new(column, &OPTIONS))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            cells: formatters.iter().map(|_| Cell::new(cells)).collect(),
            formatters,
            next: 0,
            rows: batch.num_rows(),
        })
    }

    /// Returns the cells of the next row; `None` behind the last one.
    ///
    /// # Errors
    /// If a value has no text.
    pub(super) fn next(&mut self) -> Result<Option<&[Cell]>, ArrowError> {
        if self.next == self.rows {
            return Ok(None);
        }
        for (formatter, cell) in self.formatters.iter().zip(&mut self.cells) {
            cell.fill(formatter, self.next)?;
        }
        self.next += 1;
        Ok(Some(&self.cells))
    }
}

/// Returns the names of the columns as cells.
pub(super) fn names(schema: &Schema) -> Vec<Cell> {
    let name = |name: &String| {
        let mut cell = Cell::new(Cells::Cut);
        // An error only means that the cell is full, and the rest is left out.
        cell.write_str(name).ok();
        cell.end();
        cell
    };
    schema.fields().iter().map(|field| name(field.name())).collect()
}

/// The text that is shown for a value.
#[derive(Debug)]
pub(super) struct Cell {
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
    pub(super) fn width(&self) -> usize {
        self.lines.iter().map(|(_, width)| *width).max().unwrap_or_default()
    }

    /// The number of lines, of which the last may be empty.
    pub(super) fn lines(&self) -> usize {
        self.lines.len()
    }

    /// The size of all lines without their newlines, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.text.len()
    }

    /// The bytes beyond one for each column of the terminal.
    pub(super) fn extra(&self) -> usize {
        let shown: usize = self.lines.iter().map(|(_, width)| *width).sum();
        self.text.len().saturating_sub(shown)
    }

    /// Returns the text of a line, and its width in columns of the terminal.
    pub(super) fn line(&self, line: usize) -> (&str, usize) {
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
