//! Makes text of others safe for terminals.
//!
//! A terminal interprets what it prints: `ESC ] 52` writes the clipboard, a carriage return hides what is before it,
//! and a bidirectional override shows letters in another order. Each such character is replaced by a visible one
//! without effect: a control character by its picture (`␛` for ESC), and others by `�`. One character replaces one, so
//! that columns keep their widths.
//!
//! There are two forms, which differ in newlines and tabs. [`neutral`] is for one line, in which these would look like
//! the end of a row or of a column. [`neutral_rows`] and [`Neutralizer`] are for whole texts and keep them.

use std::borrow::Cow;

/// The replacement for a character that has no picture.
const UNSEEN: char = '\u{fffd}';

/// The length in bytes of the longest incomplete UTF-8 character.
const LONGEST_PART: usize = 3;

/// Makes one line safe. Newlines and tabs are replaced by their pictures.
#[must_use]
pub fn neutral(text: &str) -> Cow<'_, str> {
    replaced(text, false)
}

/// Makes a text of several lines safe. Newlines and tabs are kept.
#[must_use]
pub fn neutral_rows(text: &str) -> Cow<'_, str> {
    replaced(text, true)
}

/// Makes a stream of bytes safe. Newlines and tabs are kept. Invalid UTF-8 is replaced by `�`, and a character that is
/// split between two pieces is reassembled.
#[derive(Debug, Default)]
pub struct Neutralizer {
    /// The beginning of a character, at most [`LONGEST_PART`] bytes.
    part: Vec<u8>,
}

impl Neutralizer {
    /// Takes the next piece and appends its safe form to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.part.is_empty() {
            self.take(bytes, out);
        } else {
            let mut whole = std::mem::take(&mut self.part);
            whole.extend_from_slice(bytes);
            self.take(&whole, out);
        }
    }

    /// Ends the stream. An incomplete character is replaced.
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
            // The bytes are valid, so the lossy conversion replaces nothing.
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

/// Returns the replacement of `letter`, or `None` if it is harmless.
fn shown(letter: char, rows: bool) -> Option<char> {
    match letter {
        ' '..='~' => None,
        '\n' | '\t' if rows => None,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(letter)),
        '\u{7f}' => Some('\u{2421}'),
        // C1 control characters. One of them begins a sequence like ESC.
        '\u{80}'..='\u{9f}'
        // Characters without width, which make different names look alike.
        | '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2060}'..='\u{2065}'
        | '\u{feff}'
        // Marks, embeddings, overrides and isolates of the writing direction.
        | '\u{61c}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{206f}'
        // Line and paragraph separators, annotations, and tags.
        | '\u{2028}'..='\u{2029}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => Some(UNSEEN),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Control characters are replaced one by one, and letters of all scripts are kept.
    #[test]
    fn control_characters_are_replaced() {
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

    /// The result does not depend on where a stream is cut, and invalid UTF-8 cannot become a control character.
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
