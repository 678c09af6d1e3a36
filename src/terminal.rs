//! Output for a terminal or a pipe: colours, a line rewritten in place, a progress bar, a pager.

mod bar;
mod foreground;
mod live;
mod output;
mod pager;
mod reader;
mod secret;
mod table;

use std::io::IsTerminal as _;

pub(crate) use bar::ProgressBar;
pub(crate) use foreground::Foreground;
pub(crate) use live::{LiveLine, Screen};
pub(crate) use output::{Colour, Output, ask, note, show_raw, stdout_is_neutral};
pub(crate) use reader::reader_left;
pub(crate) use secret::secret;
pub(crate) use table::table;

/// The number of columns if the terminal does not tell its size.
const DEFAULT_COLUMNS: usize = 100;
/// The number of rows if the terminal does not tell its size.
const DEFAULT_ROWS: usize = 30;

/// Returns whether standard output is a terminal.
#[expect(clippy::disallowed_methods, reason = "nothing is written")]
pub(crate) fn stdout_is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Returns whether standard error is a terminal.
#[expect(clippy::disallowed_methods, reason = "nothing is written")]
pub(crate) fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Returns whether standard output is coloured: on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
pub(crate) fn stdout_has_colour() -> bool {
    stdout_is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns the columns and rows of the terminal at standard output or standard error.
#[expect(clippy::disallowed_methods, reason = "nothing is written")]
pub(crate) fn size() -> (usize, usize) {
    let size =
        rustix::termios::tcgetwinsize(std::io::stdout()).or_else(|_| rustix::termios::tcgetwinsize(std::io::stderr()));
    match size {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (usize::from(size.ws_col), usize::from(size.ws_row)),
        _ => (DEFAULT_COLUMNS, DEFAULT_ROWS),
    }
}

/// Formats a number with a comma before every third digit: `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Cuts a line to its first `columns` characters, so that it does not wrap.
pub(crate) fn fitted(line: &str, columns: usize) -> &str {
    line.char_indices().nth(columns).map_or(line, |(end, _)| &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345, "12,345"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn lines_are_cut_at_characters() {
        assert_eq!(fitted("äöü", 2), "äö");
        assert_eq!(fitted("abc", 3), "abc");
    }
}
