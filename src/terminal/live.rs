//! Text that changes in place on a terminal: one line ([`LiveLine`]) or a whole screen ([`Screen`]).

use std::io::{self, Write};

use super::output::line_for_stdout;
use super::{fitted, size};

/// Moves to the first column and erases to the end of the line.
const REWRITE: &str = "\r\x1b[K";

/// One line at the bottom, rewritten until something else is printed.
#[derive(Debug, Default)]
pub(crate) struct LiveLine {
    shown: bool,
}

impl LiveLine {
    /// Replaces the shown text by `text`.
    pub(crate) fn show(&mut self, to: &mut impl Write, text: &str) -> io::Result<()> {
        let (columns, _) = size();
        // One column less: some terminals wrap when the last column is written.
        write!(to, "{REWRITE}{}", fitted(text, columns.saturating_sub(1)))?;
        self.shown = true;
        to.flush()
    }

    /// Removes the line, so that other text can be printed.
    pub(crate) fn clear(&mut self, to: &mut impl Write) -> io::Result<()> {
        if std::mem::take(&mut self.shown) {
            write!(to, "{REWRITE}")?;
            to.flush()?;
        }
        Ok(())
    }
}

/// A screen of lines, redrawn from the top without flicker: each line is overwritten, the rest below is erased.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    drawn: bool,
}

impl Screen {
    /// Draws as many of `lines` as fit on the terminal behind standard output.
    #[expect(clippy::disallowed_methods, reason = "one of the places where commands write")]
    pub(crate) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        self.draw_on(&mut io::stdout(), lines)
    }

    fn draw_on(&mut self, to: &mut impl Write, lines: &[String]) -> io::Result<()> {
        let (columns, rows) = size();
        // The first time the screen is erased; most terminals keep its text in the scroll-back.
        let start = if std::mem::replace(&mut self.drawn, true) {
            "\x1b[H"
        } else {
            "\x1b[2J\x1b[H"
        };
        let mut text = String::from(start);
        for line in lines.iter().take(rows.saturating_sub(1)) {
            text.push_str(fitted(&line_for_stdout(line), columns));
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        to.write_all(text.as_bytes())?;
        to.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line is rewritten in place and erased by `clear`; a second `clear` writes nothing.
    #[test]
    fn a_line_is_rewritten_in_place() {
        let (mut screen, mut line) = (Vec::new(), LiveLine::default());
        line.show(&mut screen, "one").expect("written");
        line.show(&mut screen, "two").expect("written");
        line.clear(&mut screen).expect("written");
        line.clear(&mut screen).expect("written");
        assert_eq!(String::from_utf8_lossy(&screen), "\r\x1b[Kone\r\x1b[Ktwo\r\x1b[K");
    }

    /// Redrawing starts at the top and erases what a longer screen left.
    #[test]
    fn a_screen_is_redrawn_from_the_top() {
        let (mut bytes, mut screen) = (Vec::new(), Screen::default());
        screen.draw_on(&mut bytes, &["a".to_owned()]).expect("written");
        bytes.clear();
        screen.draw_on(&mut bytes, &["b".to_owned()]).expect("written");
        assert_eq!(String::from_utf8_lossy(&bytes), "\x1b[Hb\x1b[K\n\x1b[J");
    }
}
