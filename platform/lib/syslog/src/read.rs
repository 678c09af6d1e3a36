//! Reads one RFC 5424 message.
//!
//! The reader is strict about the structure: a malformed message is refused with the offset of its first fault. It
//! accepts four deviations that common senders make, among them the original's agent (logging §14.1): names may be
//! longer than the RFC's 32, 48, 128 and 255 bytes, the priority may be `-1`, a fraction of a second may have nine
//! digits, and a backslash that escapes nothing stands for itself.

use weir_error::{Classify, ErrorKind};

use crate::timestamp;

mod data;

pub use data::{Element, Elements, Parameter, Parameters, StructuredData};

/// An RFC 5424 message, which borrows from its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The fields before the structured data.
    pub header: Header<'a>,
    /// The structured data; empty if the message has none (`-`).
    pub data: StructuredData<'a>,
    /// The text (MSG), which may be any bytes; `None` if the message ends with the structured data.
    pub text: Option<&'a [u8]>,
}

/// The header of a message; a field is `None` where the message says `-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// PRI: facility times eight plus severity, 0 to 191. The original's agent writes -1 for an unknown log type.
    pub priority: i16,
    /// VERSION: the version of the protocol, 1 to 999.
    pub version: u16,
    /// TIMESTAMP, in nanoseconds since the Unix epoch.
    pub timestamp: Option<i64>,
    /// HOSTNAME: the machine that sends.
    pub hostname: Option<&'a str>,
    /// APP-NAME: the program that sends.
    pub app_name: Option<&'a str>,
    /// PROCID: the process that sends.
    pub process_id: Option<&'a str>,
    /// MSGID: the type of the message.
    pub message_id: Option<&'a str>,
}

/// The fault for which bytes are not an RFC 5424 message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{part} at byte {at}")]
pub struct ParseError {
    /// The part of the message that is malformed.
    pub part: Part,
    /// The offset of the fault in the message, in bytes.
    pub at: usize,
}

/// The part of a message that is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Part {
    /// The priority, `<PRI>`.
    #[error("priority is not `<0>` to `<191>`")]
    Priority,
    /// VERSION.
    #[error("version is not a number of one to three digits")]
    Version,
    /// TIMESTAMP.
    #[error("time stamp is neither RFC 3339 nor `-`")]
    Timestamp,
    /// HOSTNAME.
    #[error("host name is missing or not printable ASCII")]
    Hostname,
    /// APP-NAME.
    #[error("app name is missing or not printable ASCII")]
    AppName,
    /// PROCID.
    #[error("process id is missing or not printable ASCII")]
    ProcessId,
    /// MSGID.
    #[error("message id is missing or not printable ASCII")]
    MessageId,
    /// The structured data is neither `-` nor an element.
    #[error("structured data is neither `-` nor `[…]`")]
    Data,
    /// SD-ID: the name of a structured data element.
    #[error("name of a structured data element is missing or not printable ASCII")]
    ElementId,
    /// Two structured data elements have one name.
    #[error("structured data element occurs twice")]
    RepeatedElement,
    /// SD-PARAM: a parameter of an element.
    #[error("structured data parameter is not ` name=\"value\"`")]
    Parameter,
    /// PARAM-VALUE: the value of a parameter.
    #[error("value of a structured data parameter is not UTF-8, not ended, or has a bare `]`")]
    Value,
}

impl Classify for ParseError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidInput
    }

    fn hint(&self) -> Option<String> {
        Some("send RFC 5424: `<PRI>1 TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG`".to_owned())
    }
}

/// Reads one message without its framing.
///
/// # Errors
/// If the bytes are not an RFC 5424 message.
pub fn parse(message: &[u8]) -> Result<Message<'_>, ParseError> {
    let (header, at) = header(message)?;
    let wrong = |(part, offset)| ParseError { part, at: at + offset };
    let (data, taken) = StructuredData::read(&message[at..]).map_err(wrong)?;
    let text = text(message, at + taken)?;
    Ok(Message { header, data, text })
}

/// Returns the text behind the structured data, which ends at offset `at`.
pub(crate) fn text(message: &[u8], at: usize) -> Result<Option<&[u8]>, ParseError> {
    match &message[at..] {
        [] => Ok(None),
        [b' ', text @ ..] => Ok(Some(text)),
        _ => Err(ParseError { part: Part::Data, at }),
    }
}

/// Reads the header; returns it and the offset at which the structured data begins.
#[inline]
pub(crate) fn header(message: &[u8]) -> Result<(Header<'_>, usize), ParseError> {
    let mut cursor = Cursor { message, at: 0 };
    let priority = cursor.priority().ok_or_else(|| cursor.wrong(Part::Priority))?;
    let version = cursor.version().ok_or_else(|| cursor.wrong(Part::Version))?;
    let timestamp = match cursor.field(Part::Timestamp)? {
        None => None,
        Some(text) => {
            // The cursor stands behind the field and its space; the fault is reported at the start of the field.
            let at = cursor.at - 1 - text.len();
            let found = timestamp::parse(text.as_bytes());
            Some(found.ok_or(ParseError {
                part: Part::Timestamp,
                at,
            })?)
        }
    };
    let header = Header {
        priority,
        version,
        timestamp,
        hostname: cursor.field(Part::Hostname)?,
        app_name: cursor.field(Part::AppName)?,
        process_id: cursor.field(Part::ProcessId)?,
        message_id: cursor.field(Part::MessageId)?,
    };
    Ok((header, cursor.at))
}

/// The position up to which the header has been read.
struct Cursor<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn wrong(&self, part: Part) -> ParseError {
        ParseError { part, at: self.at }
    }

    fn priority(&mut self) -> Option<i16> {
        let rest = self.message.strip_prefix(b"<")?;
        self.at = 1;
        // The original's agent writes `<-1>` for a log of an unknown type.
        let (value, digits) = match rest {
            [b'-', b'1', ..] => (-1, 2),
            _ => {
                let (value, digits) = short_number(rest)?;
                (i16::try_from(value).ok().filter(|value| *value <= 191)?, digits)
            }
        };
        if rest.get(digits) != Some(&b'>') {
            return None;
        }
        self.at = digits + 2;
        Some(value)
    }

    fn version(&mut self) -> Option<u16> {
        let rest = &self.message[self.at..];
        let (version, digits) = short_number(rest).filter(|(version, _)| *version > 0)?;
        if rest.get(digits) != Some(&b' ') {
            return None;
        }
        self.at += digits + 1;
        Some(version)
    }

    /// Reads a field of printable ASCII and the space behind it; `None` if the field is `-`.
    #[inline]
    fn field(&mut self, part: Part) -> Result<Option<&'a str>, ParseError> {
        let rest = &self.message[self.at..];
        let len = rest.iter().take_while(|byte| byte.is_ascii_graphic()).count();
        if len == 0 || rest.get(len) != Some(&b' ') {
            return Err(ParseError {
                part,
                at: self.at + len,
            });
        }
        self.at += len + 1;
        let field = std::str::from_utf8(&rest[..len]).expect("ASCII is UTF-8");
        Ok(Some(field).filter(|field| *field != "-"))
    }
}

/// Reads a number of one to three digits without a leading zero; returns it and its number of digits.
fn short_number(bytes: &[u8]) -> Option<(u16, usize)> {
    let digits = bytes.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=3).contains(&digits) || (digits > 1 && bytes[0] == b'0') {
        return None;
    }
    let value = bytes[..digits]
        .iter()
        .fold(0, |value, byte| value * 10 + u16::from(byte - b'0'));
    Some((value, digits))
}

#[cfg(test)]
mod tests;
