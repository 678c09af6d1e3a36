//! Text of others as a terminal may be given it.
//!
//! A terminal obeys what it reads: `ESC ] 52` writes the clipboard, a carriage return hides what stands before it, and a
//! bidirectional override shows letters in another order than they have. Each such character is replaced by one that can
//! be seen and does nothing: a control character by its picture (`␛` for ESC), everything else by `�`. One character
//! stands for one, so that columns keep their widths.
//!
//! Two forms differ in what a newline or a tab is. [`neutral`] is for one line, in which either would pass for the end of
//! a row or of a column; [`neutral_rows`] and [`Neutralizer`] are for whole texts, where both stay.

use std::borrow::Cow;

/// What stands for a character that has no picture of its own.
const UNSEEN: char = '\u{fffd}';

/// Longest part of a UTF-8 character that can still become one.
const LONGEST_PART: usize = 3;

/// One line: newlines and tabs are shown as their pictures as well.
#[must_use]
pub fn neutral(text: &str) -> Cow<'_, str> {
    replaced(text, false)
}

/// A text of several lines: newlines and tabs stay.
#[must_use]
pub fn neutral_rows(text: &str) -> Cow<'_, str> {
    replaced(text, true)
}

/// Neutralizes a stream of bytes, in which newlines and tabs stay. What is no UTF-8 is shown as `�`; a character that is cut
/// between two pieces is put together again.
#[derive(Debug, Default)]
pub struct Neutralizer {
    /// The beginning of a character, at most [`LONGEST_PART`] bytes.
    part: Vec<u8>,
}

impl Neutralizer {
    /// Takes the next piece and appends what can be shown of it to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.part.is_empty() {
            self.take(bytes, out);
        } else {
            let mut whole = std::mem::take(&mut self.part);
            whole.extend_from_slice(bytes);
            self.take(&whole, out);
        }
    }

    /// The stream is over: the beginning of a character is none.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.part).is_empty() {
            push_char(UNSEEN, out);
        }
    }

    fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        loop {
            let error = match std::str::from_utf8(bytes) {
                Ok(text) => {
                    out.extend_from_slice(neutral_rows(text).as_bytes());
                    return;
                }
                Err(error) => error,
            };
            let (valid, rest) = bytes.split_at(error.valid_up_to());
            // It is valid up to there: nothing of it is replaced.
            out.extend_from_slice(neutral_rows(&String::from_utf8_lossy(valid)).as_bytes());
            match error.error_len() {
                Some(length) => {
                    push_char(UNSEEN, out);
                    bytes = &rest[length..];
                }
                None => {
                    debug_assert!(rest.len() <= LONGEST_PART, "a longer one would be complete or wrong");
                    self.part.extend_from_slice(rest);
                    return;
                }
            }
        }
    }
}

fn push_char(letter: char, out: &mut Vec<u8>) {
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

fn replaced(text: &str, rows: bool) -> Cow<'_, str> {
    match text.char_indices().find(|(_, letter)| shown(*letter, rows).is_some()) {
        None => Cow::Borrowed(text),
        Some((first, _)) => {
            let mut out = String::with_capacity(text.len() + 16);
            out.push_str(&text[..first]);
            out.extend(
                text[first..]
                    .chars()
                    .map(|letter| shown(letter, rows).unwrap_or(letter)),
            );
            Cow::Owned(out)
        }
    }
}

/// What is shown in place of `letter`; nothing if it is harmless.
fn shown(letter: char, rows: bool) -> Option<char> {
    match letter {
        ' '..='~' => None,
        '\n' | '\t' if rows => None,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(letter)),
        '\u{7f}' => Some('\u{2421}'),
        // The controls of eight bits, of which one begins a sequence as ESC does.
        '\u{80}'..='\u{9f}'
        // What has no width: two names that look alike may be different ones.
        | '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2060}'..='\u{2065}'
        | '\u{feff}'
        // Marks, embeddings, overrides and isolates of the direction of writing.
        | '\u{61c}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{206f}'
        // Separators of lines and of paragraphs, annotations, and tags.
        | '\u{2028}'..='\u{2029}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => Some(UNSEEN),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a terminal would obey is shown instead; one character stands for one; letters of all scripts stay.
    #[test]
    fn a_terminal_obeys_nothing() {
        for (text, expected) in [
            ("plain text ~", "plain text ~"),
            ("größe 🦀 שלום مرحبا", "größe 🦀 שלום مرحبا"),
            ("\u{1b}]52;c;cm0gLXJm\u{7}", "␛]52;c;cm0gLXJm␇"),
            ("shown\rhidden", "shown␍hidden"),
            ("a\u{7f}\u{9b}31mb", "a␡\u{fffd}31mb"),
            ("user\u{202e}gnp.exe", "user\u{fffd}gnp.exe"),
            ("ad\u{200b}min\u{2066}", "ad\u{fffd}min\u{fffd}"),
            ("two\nlines\tand a tab", "two␊lines␉and a tab"),
        ] {
            assert_eq!(neutral(text), expected);
            assert_eq!(neutral(text).chars().count(), text.chars().count());
        }
        assert_eq!(neutral_rows("two\nlines\t\u{1b}"), "two\nlines\t␛");
    }

    /// However a stream is cut, what is shown is the same; what is no UTF-8 cannot be a control either.
    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let text = "größe 🦀\u{1b}[2J\u{202e}\nnext \u{9b}A".as_bytes();
        let bytes = [text, b"\x9b\xff\xc3"].concat();
        let shown = |size: usize| {
            let (mut neutralizer, mut out) = (Neutralizer::default(), Vec::new());
            for piece in bytes.chunks(size) {
                neutralizer.push(piece, &mut out);
            }
            neutralizer.finish(&mut out);
            String::from_utf8(out).expect("text")
        };
        let whole = shown(bytes.len());
        assert_eq!(whole, "größe 🦀␛[2J\u{fffd}\nnext \u{fffd}A\u{fffd}\u{fffd}\u{fffd}");
        for size in 1..bytes.len() {
            assert_eq!(shown(size), whole);
        }
    }
}
