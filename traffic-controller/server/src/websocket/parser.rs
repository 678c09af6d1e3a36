//! Parses client frames (RFC 6455 §5) strictly and without storing data.
//!
//! The traffic controller ignores data from clients, so data payloads are skipped. The parser needs memory for one
//! header and one control payload only. Everything that the RFC forbids is a [`Violation`]: an unmasked frame, reserved
//! bits (no extension was offered), an unknown opcode, a fragmented or too long control frame, a continuation without a
//! message, and a malformed close frame.

use super::frame::MAX_CONTROL;

/// The largest size of a client's data frame, in bytes. Clients have no reason to send data at all.
const MAX_DATA: u64 = 1 << 20;

/// The largest size of a header, in bytes: two, eight of length, four of mask.
const MAX_HEADER: usize = 14;

/// An event that the session must handle.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A ping, to be answered with its payload.
    Ping(ControlPayload),
    /// A pong.
    Pong,
    /// A close frame, with its code if it has one.
    Close(Option<u16>),
}

/// The violation of the protocol by the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("client broke the protocol: {0}")]
    Protocol(&'static str),
    #[error("client sent a frame of {0} bytes, more than it may")]
    TooBig(u64),
}

impl Violation {
    /// Returns the close code for the violation (RFC 6455 §7.4.1).
    pub(crate) const fn close_code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::TooBig(_) => 1009,
        }
    }
}

/// The payload of a control frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ControlPayload {
    bytes: [u8; MAX_CONTROL],
    len: usize,
}

impl ControlPayload {
    const EMPTY: Self = Self {
        bytes: [0; MAX_CONTROL],
        len: 0,
    };

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The parser: a state machine that is fed with the bytes from the socket.
#[derive(Debug)]
pub(crate) struct Parser {
    header: [u8; MAX_HEADER],
    header_len: usize,
    state: State,
    /// Whether a data message was begun and not finished.
    fragmented: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Header,
    /// This number of bytes of a data frame is still to come.
    Skip(u64),
    Control {
        opcode: u8,
        mask: [u8; 4],
        wanted: usize,
        payload: ControlPayload,
    },
}

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

impl Parser {
    pub(crate) const fn new() -> Self {
        Self {
            header: [0; MAX_HEADER],
            header_len: 0,
            state: State::Header,
            fragmented: false,
        }
    }

    /// Consumes `input` up to the next event. Returns `None` if all of it is consumed.
    pub(crate) fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Violation> {
        loop {
            match self.state {
                State::Header => {
                    // A frame may consist of its header only, so this state is left even if the input is used up.
                    let Some(state) = self.header(input)? else {
                        return Ok(None);
                    };
                    self.state = state;
                }
                State::Skip(0) => self.state = State::Header,
                State::Skip(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let step = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                    *input = &input[step..];
                    self.state = State::Skip(left - step as u64);
                }
                State::Control {
                    opcode,
                    mask,
                    wanted,
                    mut payload,
                } => {
                    let step = (wanted - payload.len).min(input.len());
                    let (now, later) = input.split_at(step);
                    for byte in now {
                        payload.bytes[payload.len] = byte ^ mask[payload.len % 4];
                        payload.len += 1;
                    }
                    *input = later;
                    if payload.len < wanted {
                        self.state = State::Control {
                            opcode,
                            mask,
                            wanted,
                            payload,
                        };
                        return Ok(None);
                    }
                    self.state = State::Header;
                    return control(opcode, payload).map(Some);
                }
            }
        }
    }

    /// Collects a header. Returns `None` if more input is needed.
    fn header(&mut self, input: &mut &[u8]) -> Result<Option<State>, Violation> {
        loop {
            let wanted = self.header_wanted();
            if self.header_len == wanted {
                self.header_len = 0;
                return self.begin_frame(wanted).map(Some);
            }
            let Some((&byte, rest)) = input.split_first() else {
                return Ok(None);
            };
            *input = rest;
            self.header[self.header_len] = byte;
            self.header_len += 1;
            if self.header_len == 2 {
                self.check_first_bytes()?;
            }
        }
    }

    /// Returns the length of the header as far as its first two bytes tell. `check_first_bytes` ensures that there is a
    /// mask.
    const fn header_wanted(&self) -> usize {
        if self.header_len < 2 {
            return 2;
        }
        match self.header[1] & 0x7f {
            126 => 8,
            127 => MAX_HEADER,
            _ => 6,
        }
    }

    fn check_first_bytes(&self) -> Result<(), Violation> {
        let [first, second, ..] = self.header;
        if first & 0x70 != 0 {
            return Err(Violation::Protocol("reserved bits are set"));
        }
        if second & 0x80 == 0 {
            return Err(Violation::Protocol("frame is not masked"));
        }
        let last = first & 0x80 != 0;
        match first & 0x0f {
            CONTINUATION if !self.fragmented => Err(Violation::Protocol("continuation of no message")),
            TEXT | BINARY if self.fragmented => Err(Violation::Protocol("message begins inside another")),
            CONTINUATION | TEXT | BINARY => Ok(()),
            CLOSE | PING | PONG if !last => Err(Violation::Protocol("control frame is fragmented")),
            CLOSE | PING | PONG if second & 0x7f > 125 => Err(Violation::Protocol("control frame is too long")),
            CLOSE | PING | PONG => Ok(()),
            _ => Err(Violation::Protocol("opcode is unknown")),
        }
    }

    fn begin_frame(&mut self, header_len: usize) -> Result<State, Violation> {
        let header = &self.header;
        let opcode = header[0] & 0x0f;
        let len = match header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
            127 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&header[2..10]);
                u64::from_be_bytes(bytes)
            }
            short => u64::from(short),
        };
        if opcode >= CLOSE {
            let mut mask = [0; 4];
            mask.copy_from_slice(&header[header_len - 4..header_len]);
            let wanted = usize::try_from(len).unwrap_or(MAX_CONTROL).min(MAX_CONTROL);
            return Ok(State::Control {
                opcode,
                mask,
                wanted,
                payload: ControlPayload::EMPTY,
            });
        }
        if len > MAX_DATA {
            return Err(Violation::TooBig(len));
        }
        self.fragmented = header[0] & 0x80 == 0;
        Ok(State::Skip(len))
    }
}

fn control(opcode: u8, payload: ControlPayload) -> Result<Event, Violation> {
    match opcode {
        PING => Ok(Event::Ping(payload)),
        PONG => Ok(Event::Pong),
        _ => close(payload.as_bytes()).map(Event::Close),
    }
}

/// Parses a close payload: empty, or a permitted code followed by UTF-8.
fn close(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        _ => return Err(Violation::Protocol("close code is cut short")),
    };
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => {}
        _ => return Err(Violation::Protocol("close code is not valid")),
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(Violation::Protocol("close reason is not UTF-8")),
    }
}

#[cfg(test)]
mod tests;
