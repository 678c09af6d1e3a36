//! Server-sent events as bytes: one writer and one parser, without input or output.
//!
//! ```text
//! id: 0
//! event: Upsert
//! data: {"route":…}
//!
//! ```
//!
//! The writer makes what the original's library writes. The parser takes everything that the standard allows (any end of a
//! line, comments, several lines of data).

use bytes::{Buf as _, Bytes, BytesMut};
use thiserror::Error;

/// Most bytes of one event, from its first line to the empty one. An event of the routing API has one route.
const LARGEST: usize = 1 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// The id; empty if the server gives none.
    pub id: String,
    /// The name: `Upsert` or `Delete` in the routing API's streams.
    pub name: String,
    /// The data: a route as JSON.
    pub data: Bytes,
}

/// An event has more bytes than are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("event is larger than `{LARGEST}` bytes")]
pub struct EventTooLarge;

impl Event {
    /// The event as the original writes it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut text = Vec::with_capacity(self.id.len() + self.name.len() + self.data.len() + 32);
        for (field, value) in [("id: ", &self.id), ("event: ", &self.name)] {
            text.extend_from_slice(field.as_bytes());
            text.extend_from_slice(value.as_bytes());
            text.push(b'\n');
        }
        for line in self.data.split(|byte| *byte == b'\n') {
            text.extend_from_slice(if line.is_empty() { b"data" } else { b"data: " });
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        text.push(b'\n');
        text.into()
    }
}

/// Cuts events out of bytes as they arrive: [`EventParser::push`], then [`EventParser::next_event`] until there is none.
#[derive(Debug, Default)]
pub struct EventParser {
    /// What has arrived and is no whole line yet.
    rest: BytesMut,
    /// Bytes of `rest` that are known to have no end of a line.
    searched: usize,
    /// Whether the last line ended with a carriage return, so that a line feed after it ends nothing.
    after_return: bool,
    event: Gathered,
}

/// The fields of an event that has not ended yet.
#[derive(Debug, Default)]
struct Gathered {
    id: String,
    name: String,
    data: BytesMut,
    has_data: bool,
    bytes: usize,
}

impl EventParser {
    /// Takes bytes as they arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
    }

    /// The next event that is there as a whole.
    ///
    /// # Errors
    /// When an event is too large. The rest of the stream is of no use then.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        while let Some(line) = self.line() {
            self.event.bytes += line.len() + 1;
            if self.event.bytes > LARGEST {
                return Err(EventTooLarge);
            }
            if line.is_empty() {
                let gathered = std::mem::take(&mut self.event);
                if let Some(event) = gathered.finish() {
                    return Ok(Some(event));
                }
            } else {
                self.event.add(&line);
            }
        }
        if self.event.bytes + self.rest.len() > LARGEST {
            return Err(EventTooLarge);
        }
        Ok(None)
    }

    /// The next whole line, without its end: a line feed, a carriage return, or both.
    fn line(&mut self) -> Option<BytesMut> {
        if self.after_return && !self.rest.is_empty() {
            if self.rest.starts_with(b"\n") {
                self.rest.advance(1);
            }
            self.after_return = false;
        }
        let Some(found) = memchr::memchr2(b'\n', b'\r', &self.rest[self.searched..]) else {
            self.searched = self.rest.len();
            return None;
        };
        let mut line = self.rest.split_to(self.searched + found + 1);
        self.searched = 0;
        self.after_return = line.ends_with(b"\r");
        line.truncate(line.len() - 1);
        Some(line)
    }
}

impl Gathered {
    fn add(&mut self, line: &[u8]) {
        let (field, value) = match memchr::memchr(b':', line) {
            // A comment.
            Some(0) => return,
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.has_data {
                    self.data.extend_from_slice(b"\n");
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            b"id" => self.id = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
    }

    /// The event; `None` if it has no data, which the standard ignores.
    fn finish(self) -> Option<Event> {
        self.has_data.then(|| Event {
            id: self.id,
            name: self.name,
            data: self.data.freeze(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(id: &str, name: &str, data: &str) -> Event {
        Event {
            id: id.to_owned(),
            name: name.to_owned(),
            data: data.to_owned().into(),
        }
    }

    fn parse(pieces: &[&[u8]]) -> Result<Vec<Event>, EventTooLarge> {
        let mut parser = EventParser::default();
        let mut events = Vec::new();
        for piece in pieces {
            parser.push(piece);
            while let Some(event) = parser.next_event()? {
                events.push(event);
            }
        }
        Ok(events)
    }

    /// What the original's library writes.
    #[test]
    fn events_are_written_as_the_original_writes_them() {
        assert_eq!(
            event("0", "Upsert", "{\"a\":1}").encode(),
            "id: 0\nevent: Upsert\ndata: {\"a\":1}\n\n"
        );
        assert_eq!(
            event("1", "x", "a\n\nb").encode(),
            "id: 1\nevent: x\ndata: a\ndata\ndata: b\n\n"
        );
    }

    /// Ends of lines, comments, fields without a value and without a blank, events without data.
    #[test]
    fn the_standard_is_understood() {
        let stream = ": hello\n\nretry: 10\nid: 7\nevent: Delete\ndata:x\ndata: y\ndata\n\nevent: none\n\n:\r\ndata: z\r\n\r\nevent: Upsert\rdata: q\r\r";
        let expected = vec![
            event("7", "Delete", "x\ny\n"),
            event("", "", "z"),
            event("", "Upsert", "q"),
        ];
        assert_eq!(parse(&[stream.as_bytes()]), Ok(expected.clone()));
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
        assert_eq!(parse(&bytes), Ok(expected));
    }

    /// What never ends is refused, whether it has lines or not.
    #[test]
    fn endless_events_are_refused() {
        let mut parser = EventParser::default();
        parser.push(&vec![b'x'; LARGEST + 1]);
        assert_eq!(parser.next_event(), Err(EventTooLarge));
        let line = b"data: 0123456789\n".repeat(1000);
        let lines = vec![line.as_slice(); LARGEST / line.len() + 1];
        assert_eq!(parse(&lines), Err(EventTooLarge));
        let whole = event("1", "Upsert", &"x".repeat(LARGEST / 2)).encode();
        assert_eq!(parse(&[&whole, &whole, &whole]).map(|events| events.len()), Ok(3));
    }

    proptest! {
        /// Whatever was written is read, however it is cut.
        #[test]
        fn events_survive_the_way(
            events in prop::collection::vec(("[0-9]{0,3}", "[A-Za-z]{0,8}", "[ -~\n]{0,40}"), 0..6),
            size in 1_usize..20,
        ) {
            let events: Vec<Event> = events.iter().map(|(id, name, data)| event(id, name, data)).collect();
            let stream: Vec<u8> = events.iter().flat_map(|event| event.encode().to_vec()).collect();
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            prop_assert_eq!(parse(&pieces), Ok(events));
        }

        /// No input ends in a panic, and cutting it elsewhere changes nothing.
        #[test]
        fn garbage_is_parsed_alike(
            stream in prop::collection::vec(prop::sample::select(b"\r\n: adteiv\0\xff".to_vec()), 0..200),
            size in 1_usize..9,
        ) {
            let pieces: Vec<&[u8]> = stream.chunks(size).collect();
            prop_assert_eq!(parse(&pieces), parse(&[&stream]));
        }
    }
}
