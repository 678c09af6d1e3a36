//! Writes server frames (RFC 6455 §5.2) unmasked and unfragmented into the outgoing buffer.
//!
//! ```text
//! 0x80|opcode | len < 126                  | payload
//! 0x80|opcode | 126 | len as 16 bits, BE   | payload
//! 0x80|opcode | 127 | len as 64 bits, BE   | payload
//! ```

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xa,
}

/// The largest payload of a control frame, in bytes.
pub(crate) const MAX_CONTROL: usize = 125;

const FINAL: u8 = 0x80;

/// Appends a frame with `payload` to `out`.
#[inline]
pub(crate) fn put_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let first = FINAL | opcode as u8;
    let len = payload.len();
    if let Some(short) = u8::try_from(len).ok().filter(|len| *len < 126) {
        out.extend_from_slice(&[first, short]);
    } else if let Ok(medium) = u16::try_from(len) {
        let [high, low] = medium.to_be_bytes();
        out.extend_from_slice(&[first, 126, high, low]);
    } else {
        out.extend_from_slice(&[first, 127]);
        out.extend_from_slice(&(len as u64).to_be_bytes());
    }
    out.extend_from_slice(payload);
}

/// Returns how many bytes [`put_frame`] writes for a payload of `len` bytes.
pub(crate) const fn frame_len(len: usize) -> usize {
    match len {
        0..126 => 2 + len,
        126..0x1_0000 => 4 + len,
        _ => 10 + len,
    }
}

/// Returns the length of the first frame in `frames`, which [`put_frame`] has written.
pub(crate) fn next_frame_len(frames: &[u8]) -> usize {
    match frames {
        [_, 126, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        [_, 127, rest @ ..] => {
            let len = rest.first_chunk().map_or(0, |len| u64::from_be_bytes(*len));
            10 + usize::try_from(len).expect("it lies in memory")
        }
        [_, short, ..] => 2 + usize::from(*short),
        _ => frames.len(),
    }
}

/// Appends a close frame. The reason is cut at a character, so that it fits into a control frame.
pub(crate) fn put_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL - 2)];
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&code.to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    put_frame(out, Opcode::Close, &payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All three forms of the length, at their limits. `frame_len` agrees with what is written.
    #[test]
    fn length_forms_change_at_126_and_65536() {
        for (len, head) in [
            (0, vec![0x82, 0]),
            (125, vec![0x82, 125]),
            (126, vec![0x82, 126, 0, 126]),
            (65_535, vec![0x82, 126, 0xff, 0xff]),
            (65_536, vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let payload = vec![7; len];
            let mut out = Vec::new();
            put_frame(&mut out, Opcode::Binary, &payload);
            assert_eq!(out[..head.len()], head);
            assert_eq!(out[head.len()..], payload);
            assert_eq!(frame_len(len), out.len());
            assert_eq!(next_frame_len(&out), out.len());
        }
    }

    /// A reason that is too long is cut between characters, so that the frame stays a valid control frame.
    #[test]
    fn a_close_reason_is_cut_to_a_control_frame() {
        let mut out = Vec::new();
        put_close(&mut out, 1008, &"ü".repeat(100));
        assert_eq!(out[..4], [0x88, 124, 0x03, 0xf0]);
        assert!(std::str::from_utf8(&out[4..]).is_ok());
    }
}
