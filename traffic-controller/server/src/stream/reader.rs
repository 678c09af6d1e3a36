//! Reads and parses what the client sends.

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::websocket::parser::{ControlPayload, Event, Parser, Violation};

/// The number of bytes that are read at once. Clients send hardly anything but pongs.
const CHUNK: usize = 1 << 10;

/// Something that the client sent, or the end of its connection.
#[derive(Debug)]
pub(crate) enum Received {
    Ping(ControlPayload),
    Pong,
    Close(Option<u16>),
    Violation(Violation),
    /// The connection failed or ended.
    Gone,
}

/// Reads and parses. Data frames are skipped.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    read: R,
    parser: Parser,
    chunk: Vec<u8>,
    /// The part of `chunk` that is not parsed yet.
    rest: std::ops::Range<usize>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Creates a reader of `early`, followed by `read`.
    pub(crate) fn new(read: R, early: &[u8]) -> Self {
        let mut chunk = early.to_vec();
        chunk.resize(early.len().max(CHUNK), 0);
        Self {
            read,
            parser: Parser::new(),
            chunk,
            rest: 0..early.len(),
        }
    }

    /// Returns the next control frame or the end. Cancel safe: nothing that was read is lost.
    pub(crate) async fn next(&mut self) -> Received {
        loop {
            let mut input = &self.chunk[self.rest.clone()];
            let event = self.parser.feed(&mut input);
            self.rest.start = self.rest.end - input.len();
            match event {
                Ok(Some(Event::Ping(payload))) => return Received::Ping(payload),
                Ok(Some(Event::Pong)) => return Received::Pong,
                Ok(Some(Event::Close(code))) => return Received::Close(code),
                Err(violation) => return Received::Violation(violation),
                Ok(None) => {}
            }
            match self.read.read(&mut self.chunk).await {
                Ok(0) | Err(_) => return Received::Gone,
                Ok(len) => self.rest = 0..len,
            }
        }
    }

    /// Reads and ignores everything up to the end of the connection.
    pub(crate) async fn until_end(&mut self) {
        while !matches!(self.read.read(&mut self.chunk).await, Ok(0) | Err(_)) {}
    }
}
