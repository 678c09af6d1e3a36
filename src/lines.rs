//! Bytes to log lines, as they arrive: no line is held back once it is complete, none grows without bound.
//!
//! Two rules for what ends a line:
//! * [`Rule::Exact`], for files: `\n` only; carriage returns, empty lines and bytes that are not UTF-8 stay as they are.
//! * [`Rule::Program`], for the output of programs, as the cell does it (logging §6): `\n` or `\r` ends a line, empty lines
//!   are not sent.
//!
//! Under both, a line longer than [`MAX_LINE`] goes out in pieces, cut between UTF-8 characters; nothing is dropped.

/// Longest payload of one log envelope, in bytes (logging §6).
pub(crate) const MAX_LINE: usize = 61_440;

/// A UTF-8 character has at most this many bytes after its first.
const MAX_CONTINUATION: usize = 3;

/// What ends a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    Exact,
    Program,
}

/// Splits one stream of bytes.
#[derive(Debug)]
pub(crate) struct Splitter {
    rule: Rule,
    /// The start of a line whose end has not come yet; at most [`MAX_LINE`] bytes.
    partial: Vec<u8>,
    /// Whether pieces of the current line were given out already.
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

    /// Takes the next bytes and gives every line that they complete to `line`, without its end.
    pub(crate) fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = self.end_of_line(bytes) {
            self.complete(&bytes[..end], &mut line);
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes, &mut line);
    }

    /// The stream is over: a last line without an end counts.
    pub(crate) fn finish(&mut self, line: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            self.complete(&[], line);
        }
    }

    /// How many pieces beyond the first long lines were cut into.
    pub(crate) fn extra_pieces(&self) -> u64 {
        self.pieces
    }

    fn end_of_line(&self, bytes: &[u8]) -> Option<usize> {
        match self.rule {
            Rule::Exact => bytes.iter().position(|&byte| byte == b'\n'),
            Rule::Program => bytes.iter().position(|&byte| byte == b'\n' || byte == b'\r'),
        }
    }

    /// `rest` is what was missing of a line.
    fn complete(&mut self, rest: &[u8], mut line: impl FnMut(&[u8])) {
        if self.partial.is_empty() && rest.len() <= MAX_LINE {
            // The usual case: the line lies in the input, nothing is copied.
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
        // What remains of a line that was cut exactly at its end is not a line of its own; other empty lines go by the rule.
        if piece.is_empty() && (self.cut || self.rule == Rule::Program) {
            return;
        }
        self.pieces += u64::from(self.cut);
        line(piece);
    }

    /// Holds the start of a line; gives out pieces while it is longer than allowed.
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

/// Where to cut `piece`, which `next` follows: before the character that `next` continues; at the end where there is none.
fn character_boundary(piece: &[u8], next: Option<u8>) -> usize {
    let continues = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    if !next.is_some_and(continues) {
        return piece.len();
    }
    let from = piece.len().saturating_sub(MAX_CONTINUATION);
    // Bytes that are no UTF-8 have no boundary to respect.
    (from..piece.len())
        .rev()
        .find(|&at| !continues(piece[at]))
        .filter(|&at| at > 0)
        .unwrap_or(piece.len())
}

#[cfg(test)]
mod tests;
