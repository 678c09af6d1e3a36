//! Splits bytes into log lines as they arrive. A complete line is passed on at once, and the length of a line is bounded.
//!
//! There are two rules for the end of a line:
//! * [`Rule::Exact`], for files: only `\n` ends a line. Carriage returns, empty lines and bytes that are not UTF-8 are kept.
//! * [`Rule::Program`], for the output of programs, as cells do it (logging §6): `\n` or `\r` ends a line, and empty lines are not
//!   sent.
//!
//! With both rules, a line longer than [`MAX_LINE`] is split between UTF-8 characters, and nothing is dropped.

/// The most bytes of the payload of one log envelope (logging §6).
pub(crate) const MAX_LINE: usize = 61_440;

/// The most continuation bytes of a UTF-8 character.
const MAX_CONTINUATION: usize = 3;

/// The rule for the end of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Only `\n` ends a line, and every byte is kept.
    Exact,
    /// `\n` or `\r` ends a line, and empty lines are not sent.
    Program,
}

/// Splits one stream of bytes into lines.
#[derive(Debug)]
pub(crate) struct Splitter {
    rule: Rule,
    /// The beginning of a line whose end has not arrived; at most [`MAX_LINE`] bytes.
    partial: Vec<u8>,
    /// Whether pieces of the current line were passed on already.
    cut: bool,
    pieces: u64,
}

impl Splitter {
    pub(crate) fn new(rule: Rule) -> Self {
        Self {
            rule,
            partial: Vec::new(),
            cut: false,
            pieces: 0,
        }
    }

    /// Takes the next bytes, and passes every line that they complete to `line`, without its end.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = self.end_of_line(bytes) {
            self.complete(&bytes[..end], &mut line);
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes, &mut line);
    }

    /// Ends the stream, and passes on a last line without an end.
    pub(crate) fn finish(&mut self, line: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            self.complete(&[], line);
        }
    }

    /// Returns the number of pieces of long lines beyond their first.
    pub(crate) fn extra_pieces(&self) -> u64 {
        self.pieces
    }

    fn end_of_line(&self, bytes: &[u8]) -> Option<usize> {
        match self.rule {
            Rule::Exact => bytes.iter().position(|&byte| byte == b'\n'),
            Rule::Program => bytes.iter().position(|&byte| byte == b'\n' || byte == b'\r'),
        }
    }

    /// Completes the current line with `rest`.
    fn complete(&mut self, rest: &[u8], mut line: impl FnMut(&[u8])) {
        if self.partial.is_empty() && rest.len() <= MAX_LINE {
            // The usual case: the whole line is in the input, and is not copied.
            self.last_piece(rest, line);
        } else {
            self.keep(rest, &mut line);
            let partial = std::mem::take(&mut self.partial);
            self.last_piece(&partial, line);
            self.partial = partial;
            self.partial.clear();
        }
        self.cut = false;
    }

    fn last_piece(&mut self, piece: &[u8], mut line: impl FnMut(&[u8])) {
        // The rest of a line that was cut exactly at its end is not a line. Other empty lines depend on the rule.
        if piece.is_empty() && (self.cut || self.rule == Rule::Program) {
            return;
        }
        self.pieces += u64::from(self.cut);
        line(piece);
    }

    /// Keeps the beginning of a line, and passes on pieces while it is longer than [`MAX_LINE`].
    fn keep(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        let mut bytes = bytes;
        while self.partial.len() + bytes.len() > MAX_LINE {
            let room = MAX_LINE - self.partial.len();
            self.partial.extend_from_slice(&bytes[..room]);
            bytes = &bytes[room..];
            let cut = character_boundary(&self.partial, bytes.first().copied());
            self.pieces += u64::from(self.cut);
            self.cut = true;
            line(&self.partial[..cut]);
            self.partial.drain(..cut);
        }
        self.partial.extend_from_slice(bytes);
    }
}

/// Returns where to cut `piece`, which `next` follows: before the character that `next` continues, or else at the end.
fn character_boundary(piece: &[u8], next: Option<u8>) -> usize {
    let continues = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    if !next.is_some_and(continues) {
        return piece.len();
    }
    let from = piece.len().saturating_sub(MAX_CONTINUATION);
    // Bytes that are not UTF-8 have no boundary, and are cut at the limit.
    (from..piece.len())
        .rev()
        .find(|&at| !continues(piece[at]))
        .filter(|&at| at > 0)
        .unwrap_or(piece.len())
}

#[cfg(test)]
mod tests;
