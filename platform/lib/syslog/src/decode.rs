//! Cuts a byte stream into syslog messages (RFC 6587).
//!
//! The caller owns the buffer. [`Decoder::next`] takes messages off its start and leaves a message that is not complete
//! yet. A bad message does not affect the others:
//!
//! - a message that is longer than allowed is skipped by its length, without being buffered;
//! - if an octet count is missing, everything up to the next line that begins like a frame is skipped. The search
//!   accepts a frame only at the start of a line. Otherwise, after one wrong count, text in the middle of an app's
//!   output could be read as a frame.

use memchr::memchr;

use crate::Framing;

/// The greatest number of digits of an octet count, which allows for messages below one gigabyte.
const MAX_DIGITS: usize = 9;

/// The greatest length of an octet count, its space, and the first bytes of the message by which a frame is recognised.
const MAX_HEAD: usize = MAX_DIGITS + 8;

/// How many bytes are searched for the next frame before the connection counts as lost.
const MAX_SEARCH: u64 = 1 << 20;

/// Cuts the bytes of one connection into messages.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    max_message: usize,
    state: State,
}

/// What the decoder expects at the start of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The start of a frame.
    Frame,
    /// The rest of a message that is too long, of this many bytes.
    Skip(u64),
    /// The rest of a line that is too long.
    SkipLine,
    /// Any bytes, among which the next frame is searched for.
    Search { line_start: bool, searched: u64 },
}

/// The result of [`Decoder::next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item<'a> {
    /// A message without its framing.
    Message(&'a [u8]),
    /// A message was lost.
    Fault(Fault),
}

/// The reason why a message of the stream was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// The message is longer than allowed, and is skipped.
    #[error("message is longer than allowed")]
    TooLong,
    /// An octet count is missing, and everything up to the next frame is skipped.
    #[error("message does not begin with its length and a space")]
    Framing,
    /// The stream ended within a message.
    #[error("stream ended within a message")]
    Truncated,
}

/// The result of reading bytes as the head of an octet-counted frame.
enum Head {
    /// The head has `head` bytes, and a message of `len` bytes follows.
    Frame { head: usize, len: usize },
    /// There are too few bytes to decide.
    Unknown,
    /// The bytes are not the head of a frame.
    Not,
}

impl Decoder {
    /// Returns a decoder for a new connection; `max_message` is in bytes.
    ///
    /// [`Framing::None`] cannot separate messages of a stream, and is treated as [`Framing::NonTransparent`].
    #[must_use]
    pub const fn new(framing: Framing, max_message: usize) -> Self {
        Self {
            framing,
            max_message,
            state: State::Frame,
        }
    }

    /// The size in bytes that the caller's buffer needs so that every allowed message fits.
    #[must_use]
    pub const fn min_buffer(&self) -> usize {
        self.max_message + MAX_HEAD + 1
    }

    /// Whether 1 MiB was searched without finding a frame. The caller should then close the connection: the sender
    /// opens a new one, and starts with a whole frame.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(self.state, State::Search { searched, .. } if searched > MAX_SEARCH)
    }

    /// Takes the next message or fault off the start of `input`; `None` if `input` has to get more bytes first.
    #[inline]
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Item<'a>> {
        match self.framing {
            Framing::OctetCounted => self.next_counted(input),
            Framing::NonTransparent | Framing::None => self.next_line(input),
        }
    }

    /// Returns the last message or fault when the stream has ended. `rest` is the input that [`Decoder::next`] left,
    /// and `clean` says whether the sender closed the stream in order. The last line of a stream need not end with a
    /// newline.
    pub fn finish<'a>(&mut self, rest: &'a [u8], clean: bool) -> Option<Item<'a>> {
        let state = std::mem::replace(&mut self.state, State::Frame);
        match (self.framing, state) {
            // A fault was already returned for the bytes that are being skipped.
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
                    // Some senders write a newline behind each message, and do not count it.
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
                        // Reported at once and skipped as its bytes come, so that they need no buffer.
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
                // Not reached: only the reader of lines sets this state.
                State::SkipLine => self.state = State::Frame,
            }
        }
    }

    /// Takes the next line; empty lines are ignored.
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

/// Reads `bytes` as the head of a frame: a count without a leading zero, a space, and the `<` that begins every
/// message.
#[inline]
fn head_of(bytes: &[u8]) -> Head {
    let mut len = 0;
    for (digits, byte) in bytes.iter().enumerate().take(MAX_DIGITS + 1) {
        match byte {
            b'0' if digits == 0 => return Head::Not,
            b'0'..=b'9' if digits < MAX_DIGITS => len = len * 10 + usize::from(byte - b'0'),
            // The `<` is required too, because a line of text may well begin with a number and a space.
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

/// Whether bytes begin like a message: `<`, up to three digits or `-1`, `>`, and a digit of the version. `None` if
/// there are too few bytes to decide.
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
