//! What a client of NATS says, cut out of the bytes that were received. Pure and without copies: an operation borrows from
//! the buffer.
//!
//! ```text
//! PUB subject [reply] size CRLF payload CRLF                SUB subject [queue] sid CRLF
//! HPUB subject [reply] header-size size CRLF body CRLF      UNSUB sid [max] CRLF
//! CONNECT {json} CRLF   PING CRLF   PONG CRLF               +OK, -ERR, INFO: ignored
//! ```
//!
//! Names are read in any case, arguments are separated by blanks or tabs, and a control line may end without the carriage
//! return, as nats-server has it. A control line is bounded, and so is a payload, by what it announces: neither has to
//! arrive before it is refused.

use thiserror::Error;

#[cfg(test)]
mod tests;

/// The longest operations that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the arguments of a control line.
    pub control_line: usize,
    /// Most bytes of a message's header and payload together.
    pub payload: usize,
}

/// An operation of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// `CONNECT`: the JSON that follows.
    Connect(&'a [u8]),
    /// `PUB` or `HPUB`.
    Publish(Publish<'a>),
    /// `SUB`.
    Subscribe {
        /// The subject, perhaps with wildcards. Not checked yet.
        subject: &'a [u8],
        /// The queue group.
        queue: Option<&'a [u8]>,
        /// The client's id of the subscription.
        sid: &'a [u8],
    },
    /// `UNSUB`.
    Unsubscribe {
        /// The client's id of the subscription.
        sid: &'a [u8],
        /// After how many messages in all it ends; `None`: now.
        max: Option<u64>,
    },
    /// `PING`.
    Ping,
    /// `PONG`.
    Pong,
    /// Something that a server says, which has no meaning from a client.
    Ignored,
}

/// A message to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// The subject. Not checked yet.
    pub subject: &'a [u8],
    /// Where answers go.
    pub reply: Option<&'a [u8]>,
    /// How many bytes of the body are the header; 0: the message has none.
    pub header: usize,
    /// Header and payload.
    pub body: &'a [u8],
    /// Everything behind the subject as a subscriber receives it behind its sid, both line ends included. `None` where the
    /// client has separated its arguments in another form than a server does.
    pub tail: Option<&'a [u8]>,
}

/// How far the input reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// An operation, and how many bytes of the input it is.
    Operation(Operation<'a>, usize),
    /// The input ends within an operation that has at least this many bytes, more than the input.
    Needs(usize),
}

/// Why the input is no operation. The connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    /// The input begins with no operation.
    #[error("Unknown Protocol Operation")]
    UnknownOperation,
    /// The arguments of the operation are not in its form.
    #[error("Parser Error")]
    Arguments,
    /// The control line is longer than the limit.
    #[error("maximum control line exceeded")]
    ControlLine,
    /// The message is larger than the limit.
    #[error("Maximum Payload Violation")]
    Payload,
}

/// The operations by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connect,
    Publish,
    PublishWithHeader,
    Subscribe,
    Unsubscribe,
    Ping,
    Pong,
    Ignored,
}

/// Reads the operation at the beginning of `input`.
///
/// # Errors
/// When there is none, as soon as that is known.
pub fn parse(input: &[u8], limits: Limits) -> Result<Step<'_>, Refused> {
    let Some((kind, name)) = kind(input)? else {
        return Ok(Step::Needs(input.len() + 1));
    };
    let line = &input[name..];
    // Room for the blank before the arguments and the line end behind them.
    let longest = limits.control_line + 3;
    let Some(end) = memchr::memchr(b'\n', &line[..line.len().min(longest)]) else {
        return match line.len() < longest {
            true => Ok(Step::Needs(input.len() + 1)),
            false => Err(Refused::ControlLine),
        };
    };
    let length = name + end + 1;
    let line = Line {
        input,
        begin: name,
        end: length - if line[..end].ends_with(b"\r") { 2 } else { 1 },
        length,
    };
    let operation = match kind {
        Kind::Publish => return publish(line, false, limits),
        Kind::PublishWithHeader => return publish(line, true, limits),
        Kind::Ping => Operation::Ping,
        Kind::Pong => Operation::Pong,
        Kind::Ignored => Operation::Ignored,
        Kind::Connect => Operation::Connect(input[line.begin..line.end].trim_ascii()),
        Kind::Subscribe => match *Arguments::of(line)?.all() {
            [subject, sid] => Operation::Subscribe {
                subject,
                queue: None,
                sid,
            },
            [subject, queue, sid] => Operation::Subscribe {
                subject,
                queue: Some(queue),
                sid,
            },
            _ => return Err(Refused::Arguments),
        },
        Kind::Unsubscribe => match *Arguments::of(line)?.all() {
            [sid] => Operation::Unsubscribe { sid, max: None },
            [sid, max] => Operation::Unsubscribe {
                sid,
                max: Some(number(max)?),
            },
            _ => return Err(Refused::Arguments),
        },
    };
    Ok(Step::Operation(operation, length))
}

/// The operation that the input begins with and the length of its name; `None` while the input is only a part of a name.
fn kind(input: &[u8]) -> Result<Option<(Kind, usize)>, Refused> {
    let Some(first) = input.first() else { return Ok(None) };
    let (kind, name): (Kind, &[u8]) = match first.to_ascii_uppercase() {
        b'P' => match input.get(1).map(u8::to_ascii_uppercase) {
            Some(b'U') => (Kind::Publish, b"PUB"),
            Some(b'I') => (Kind::Ping, b"PING"),
            Some(b'O') => (Kind::Pong, b"PONG"),
            Some(_) => return Err(Refused::UnknownOperation),
            None => return Ok(None),
        },
        b'H' => (Kind::PublishWithHeader, b"HPUB"),
        b'S' => (Kind::Subscribe, b"SUB"),
        b'U' => (Kind::Unsubscribe, b"UNSUB"),
        b'C' => (Kind::Connect, b"CONNECT"),
        b'I' => (Kind::Ignored, b"INFO"),
        b'+' => (Kind::Ignored, b"+OK"),
        b'-' => (Kind::Ignored, b"-ERR"),
        _ => return Err(Refused::UnknownOperation),
    };
    let here = input.len().min(name.len());
    if !input[..here].eq_ignore_ascii_case(&name[..here]) {
        return Err(Refused::UnknownOperation);
    }
    if here < name.len() {
        return Ok(None);
    }
    let has_arguments = matches!(
        kind,
        Kind::Publish | Kind::PublishWithHeader | Kind::Subscribe | Kind::Unsubscribe
    );
    match input.get(name.len()) {
        None => Ok(None),
        Some(next) if has_arguments && !is_blank(*next) => Err(Refused::UnknownOperation),
        Some(_) => Ok(Some((kind, name.len()))),
    }
}

/// A control line at the beginning of the input.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    input: &'a [u8],
    /// Where the arguments begin.
    begin: usize,
    /// Where they end.
    end: usize,
    /// The length of the line with its end.
    length: usize,
}

/// Most arguments that an operation has.
const MOST_ARGUMENTS: usize = 4;

/// The arguments of a control line.
#[derive(Debug)]
struct Arguments<'a> {
    all: [&'a [u8]; MOST_ARGUMENTS],
    count: usize,
    /// Where the second argument begins.
    second: usize,
    /// Whether, from the end of the first argument on, there are single blanks only, and none at the end.
    is_canonical: bool,
}

impl<'a> Arguments<'a> {
    fn of(line: Line<'a>) -> Result<Self, Refused> {
        let mut arguments = Self {
            all: [&[]; MOST_ARGUMENTS],
            count: 0,
            second: 0,
            is_canonical: true,
        };
        let mut at = line.begin;
        loop {
            let before = at;
            while at < line.end && is_blank(line.input[at]) {
                at += 1;
            }
            let blanks = &line.input[before..at];
            if arguments.count > 0 && (at < line.end || !blanks.is_empty()) {
                arguments.is_canonical &= blanks == b" " && at < line.end;
            }
            if at == line.end {
                return Ok(arguments);
            }
            let begin = at;
            while at < line.end && !is_blank(line.input[at]) {
                // It would be the end of a line where the message is delivered.
                if line.input[at] == b'\r' {
                    return Err(Refused::Arguments);
                }
                at += 1;
            }
            if arguments.count == MOST_ARGUMENTS {
                return Err(Refused::Arguments);
            }
            if arguments.count == 1 {
                arguments.second = begin;
            }
            arguments.all[arguments.count] = &line.input[begin..at];
            arguments.count += 1;
        }
    }

    fn all(&self) -> &[&'a [u8]] {
        &self.all[..self.count]
    }
}

/// Reads a message: its control line, and what follows.
fn publish(line: Line<'_>, with_header: bool, limits: Limits) -> Result<Step<'_>, Refused> {
    let Line { input, length, .. } = line;
    let arguments = Arguments::of(line)?;
    let (subject, reply, header, size) = match (arguments.all(), with_header) {
        (&[subject, size], false) => (subject, None, None, size),
        (&[subject, reply, size], false) => (subject, Some(reply), None, size),
        (&[subject, header, size], true) => (subject, None, Some(header), size),
        (&[subject, reply, header, size], true) => (subject, Some(reply), Some(header), size),
        _ => return Err(Refused::Arguments),
    };
    let header = header.map_or(Ok(0), number)?;
    let size = number(size)?;
    if header > size {
        return Err(Refused::Arguments);
    }
    let (Ok(header), Ok(size)) = (usize::try_from(header), usize::try_from(size)) else {
        return Err(Refused::Payload);
    };
    if size > limits.payload {
        return Err(Refused::Payload);
    }
    let total = length + size + 2;
    match input.get(length + size..) {
        Some([b'\r', b'\n', ..]) => {}
        None | Some([] | [b'\r']) => return Ok(Step::Needs(total)),
        // The message has another size than was announced.
        Some(_) => return Err(Refused::UnknownOperation),
    }
    let is_canonical = arguments.is_canonical && length - line.end == 2 && (header > 0 || !with_header);
    let publish = Publish {
        subject,
        reply,
        header,
        body: &input[length..length + size],
        tail: is_canonical.then(|| &input[arguments.second..total]),
    };
    Ok(Step::Operation(Operation::Publish(publish), total))
}

/// Reads a number of at most 18 digits.
fn number(digits: &[u8]) -> Result<u64, Refused> {
    if digits.is_empty() || digits.len() > 18 {
        return Err(Refused::Arguments);
    }
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Ok(number * 10 + u64::from(digit - b'0')),
        _ => Err(Refused::Arguments),
    })
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}
