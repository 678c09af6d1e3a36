//! The name that a client of TLS gives the server in its hello (RFC 8446 §4.1.2, RFC 6066 §3), read without TLS.
//!
//! The parser is given the first bytes of a connection, and says whether they are no hello, not yet a whole one, or what its
//! name is. It allocates nothing, unless the hello is cut into several records.

use std::borrow::Cow;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hello<'b> {
    /// They may become a client hello.
    Incomplete,
    /// They are no client hello.
    None,
    /// They are one, with this name.
    Name(Option<Cow<'b, str>>),
}

/// A record of TLS with a part of the handshake.
const HANDSHAKE: u8 = 22;
/// The message of the handshake that comes first.
const CLIENT_HELLO: u8 = 1;
/// The extension with the server's name.
const SERVER_NAME: u16 = 0;
/// The kind of name that there is.
const HOST_NAME: u8 = 0;
/// Most bytes of a record.
const RECORD: usize = 16 * 1024;
/// The head of a message of the handshake: its type, and its length in three bytes.
const MESSAGE_HEAD: usize = 4;

/// Reads the first `bytes` of a connection.
pub(crate) fn parse(bytes: &[u8]) -> Hello<'_> {
    match message(bytes) {
        Message::Incomplete => Hello::Incomplete,
        Message::None => Hello::None,
        Message::Whole(Cow::Borrowed(body)) => {
            name(body).map_or(Hello::None, |name| Hello::Name(name.map(Cow::Borrowed)))
        }
        Message::Whole(Cow::Owned(body)) => {
            let name = name(&body).map(|name| name.map(|name| Cow::Owned(name.to_owned())));
            name.map_or(Hello::None, Hello::Name)
        }
    }
}

enum Message<'b> {
    Incomplete,
    None,
    /// The body of the client hello.
    Whole(Cow<'b, [u8]>),
}

/// Puts the client hello together, which is the first message and may be cut into records.
fn message(mut bytes: &[u8]) -> Message<'_> {
    let mut gathered = Cow::Borrowed(&[][..]);
    loop {
        let Some((head, rest)) = bytes.split_first_chunk::<5>() else {
            // What is there must fit, so that garbage is known at once.
            let fits =
                bytes.first().is_none_or(|first| *first == HANDSHAKE) && bytes.get(1).is_none_or(|major| *major == 3);
            return if fits { Message::Incomplete } else { Message::None };
        };
        let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
        if head[0] != HANDSHAKE || head[1] != 3 || !(1..=RECORD).contains(&length) {
            return Message::None;
        }
        let part = &rest[..length.min(rest.len())];
        if gathered.is_empty() {
            gathered = Cow::Borrowed(part);
        } else {
            gathered.to_mut().extend_from_slice(part);
        }
        if gathered.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Message::None;
        }
        if let Some(head) = gathered.first_chunk::<MESSAGE_HEAD>() {
            let length = usize::try_from(u32::from_be_bytes([0, head[1], head[2], head[3]])).unwrap_or(usize::MAX);
            if gathered.len() >= MESSAGE_HEAD + length {
                return Message::Whole(match gathered {
                    Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[MESSAGE_HEAD..MESSAGE_HEAD + length]),
                    Cow::Owned(bytes) => Cow::Owned(bytes[MESSAGE_HEAD..MESSAGE_HEAD + length].to_vec()),
                });
            }
        }
        if rest.len() < length {
            return Message::Incomplete;
        }
        bytes = &rest[length..];
    }
}

/// The name in a client hello, if it has one; `None` if it is malformed.
fn name(body: &[u8]) -> Option<Option<&str>> {
    let mut body = Reader(body);
    // Version and random.
    body.take(2 + 32)?;
    let session = body.byte()?;
    body.take(session.into())?;
    let suites = body.short()?;
    body.take(suites.into())?;
    let compressions = body.byte()?;
    body.take(compressions.into())?;
    if body.0.is_empty() {
        return Some(None);
    }
    let length = body.short()?;
    let mut extensions = Reader(body.take(length.into())?);
    while !extensions.0.is_empty() {
        let (kind, length) = (extensions.short()?, extensions.short()?);
        let extension = extensions.take(length.into())?;
        if kind == SERVER_NAME {
            return host_name(extension);
        }
    }
    Some(None)
}

fn host_name(extension: &[u8]) -> Option<Option<&str>> {
    let mut extension = Reader(extension);
    let length = extension.short()?;
    let mut names = Reader(extension.take(length.into())?);
    while !names.0.is_empty() {
        let (kind, length) = (names.byte()?, names.short()?);
        let name = names.take(length.into())?;
        if kind == HOST_NAME {
            return std::str::from_utf8(name).ok().map(Some);
        }
    }
    Some(None)
}

/// Bytes that are read from their beginning.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn short(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }
}

#[cfg(test)]
mod tests;
