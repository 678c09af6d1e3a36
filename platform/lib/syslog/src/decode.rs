//! Cuts a byte stream into messages (RFC 6587).
//!
//! The caller keeps the bytes; [`Decoder::next`] takes messages off their head and leaves what is not complete yet. A bad
//! message costs only itself:
//!
//! - one that is longer than allowed is skipped by its length, however long, without being kept;
//! - where an octet count should be and is none, everything up to the next line that begins like a frame is skipped.
//!   That a frame begins on a new line is asked for there and only there: else a sender that miscounts once could be
//!   made to read frames out of the middle of an app's output.

use memchr::memchr;

use crate::Framing;

/// Digits of an octet count at the most: up to a gigabyte.
const MAX_DIGITS: usize = 9;

/// An octet count, its space, and the first bytes of the message.
const MAX_HEAD: usize = MAX_DIGITS + 8;

/// Bytes that are searched for the next frame before the connection is given up.
const MAX_SEARCH: u64 = 1 << 20;

/// Cuts one connection's bytes into messages.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    max_message: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the head of a frame.
    Frame,
    /// Within a message that is too long; so many bytes of it are left.
    Skip(u64),
    /// Within a line that is too long.
    SkipLine,
    /// Somewhere else; so many bytes were searched.
    Search { line_start: bool, searched: u64 },
}

/// What the head of the bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A message without its framing.
    Message(&'a [u8]),
    /// A message that could not be taken.
    Fault(Fault),
}

/// Why a message could not be taken from the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// It is longer than allowed; it is skipped.
    #[error("message is longer than allowed")]
    TooLong,
    /// No octet count where one should be; everything up to the next frame is skipped.
    #[error("message does not begin with its length and a space")]
    Framing,
    /// The stream ended within it.
    #[error("stream ended within a message")]
    Truncated,
}

/// What bytes are, taken as the head of an octet counted frame.
enum Head {
    /// A message of `len` bytes follows `head` bytes.
    Frame { head: usize, len: usize },
    /// It takes more bytes to say.
    Unknown,
    /// Something else.
    Not,
}

impl Decoder {
    /// A decoder for a new connection. [`Framing::None`] does not end messages and is taken for newlines.
    #[must_use]
    pub const fn new(framing: Framing, max_message: usize) -> Self {
        Self {
            framing,
            max_message,
            state: State::Frame,
        }
    }

    /// How many bytes the caller must be able to hold, so that each message fits.
    #[must_use]
    pub const fn min_buffer(&self) -> usize {
        self.max_message + MAX_HEAD + 1
    }

    /// Whether the next frame was looked for in vain for so long that the connection had better be closed: the sender
    /// starts over with a new one.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(self.state, State::Search { searched, .. } if searched > MAX_SEARCH)
    }

    /// Takes what is next off the head of `input`; `None` when it takes more bytes, behind those that are left.
    #[inline]
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        match self.framing {
            Framing::OctetCounted => self.next_counted(input),
            Framing::NonTransparent | Framing::None => self.next_line(input),
        }
    }

    /// The stream ended, in order if `clean`; `rest` is what [`Decoder::next`] left. A last line need not be ended.
    pub fn finish<'a>(&mut self, rest: &'a [u8], clean: bool) -> Option<Item<'a>> {
        let state = std::mem::replace(&mut self.state, State::Frame);
        match (self.framing, state) {
            // What was skipped is counted already.
            (_, State::Skip(_) | State::SkipLine | State::Search { .. }) => None,
            _ if rest.is_empty() => None,
            (Framing::NonTransparent | Framing::None, State::Frame) if clean && rest.len() <= self.max_message => {
                Some(Item::Message(rest))
            }
            (_, State::Frame) => Some(Item::Fault(Fault::Truncated)),
        }
    }

    fn next_counted<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        loop {
            match &mut self.state {
                State::Frame => {
                    // Senders that end messages with a newline behind what they counted.
                    let newlines = input.iter().take_while(|byte| **byte == b'\n').count();
                    *input = &input[newlines..];
                    match head_of(input) {
                        Head::Unknown => return None,
                        Head::Not => {
                            self.state = State::Search {
                                line_start: false,
                                searched: 0,
                            };
                            return Some(Item::Fault(Fault::Framing));
                        }
                        Head::Frame { head, len } if len > self.max_message => {
                            *input = &input[head..];
                            self.state = State::Skip(len as u64);
                            return Some(Item::Fault(Fault::TooLong));
                        }
                        Head::Frame { head, len } => {
                            let message = input.get(head..head + len)?;
                            *input = &input[head + len..];
                            return Some(Item::Message(message));
                        }
                    }
                }
                State::Skip(left) => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *input = &input[taken..];
                    *left -= taken as u64;
                    if *left > 0 {
                        return None;
                    }
                    self.state = State::Frame;
                }
                State::Search { line_start, searched } => {
                    if *line_start {
                        match head_of(input) {
                            Head::Unknown => return None,
                            Head::Frame { head, .. } => match begins_message(&input[head..]) {
                                None => return None,
                                Some(true) => {
                                    self.state = State::Frame;
                                    continue;
                                }
                                Some(false) => {}
                            },
                            Head::Not => {}
                        }
                    }
                    let line = memchr(b'\n', input);
                    let taken = line.map_or(input.len(), |at| at + 1);
                    *input = &input[taken..];
                    *line_start = line.is_some();
                    *searched += taken as u64;
                    line?;
                }
                State::SkipLine => self.state = State::Frame,
            }
        }
    }

    fn next_line<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        loop {
            let Some(at) = memchr(b'\n', input) else {
                if self.state == State::SkipLine {
                    *input = &[];
                } else if input.len() > self.max_message {
                    *input = &[];
                    self.state = State::SkipLine;
                    return Some(Item::Fault(Fault::TooLong));
                }
                return None;
            };
            let line = &input[..at];
            *input = &input[at + 1..];
            if self.state == State::SkipLine {
                self.state = State::Frame;
            } else if at > self.max_message {
                return Some(Item::Fault(Fault::TooLong));
            } else if !line.is_empty() {
                return Some(Item::Message(line));
            }
        }
    }
}

/// What `bytes` are, taken as the head of a frame: a count without a leading zero, a space, and the `<` that begins
/// every message.
#[inline]
fn head_of(bytes: &[u8]) -> Head {
    let mut len = 0;
    for (digits, byte) in bytes.iter().enumerate().take(MAX_DIGITS + 1) {
        match byte {
            b'0' if digits == 0 => return Head::Not,
            b'0'..=b'9' if digits < MAX_DIGITS => len = len * 10 + usize::from(byte - b'0'),
            b' ' if digits > 0 => {
                return match bytes.get(digits + 1) {
                    None => Head::Unknown,
                    Some(b'<') => Head::Frame { head: digits + 1, len },
                    Some(_) => Head::Not,
                };
            }
            _ => return Head::Not,
        }
    }
    Head::Unknown
}

/// Whether bytes begin as a message does: `<`, up to three digits or `-1`, `>`, and a digit of the version. `None` if
/// there are too few to say.
fn begins_message(bytes: &[u8]) -> Option<bool> {
    let mut bytes = bytes.iter();
    if *bytes.next()? != b'<' {
        return Some(false);
    }
    for digits in 0..4 {
        match bytes.next()? {
            b'-' if digits == 0 => {}
            b'0'..=b'9' if digits < 3 => {}
            b'>' if digits > 0 => return Some(matches!(bytes.next()?, b'1'..=b'9')),
            _ => break,
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests;
