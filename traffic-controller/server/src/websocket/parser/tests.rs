use super::*;

const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];

/// Returns a masked client frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(MASK);
    out.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ MASK[index % 4]));
    out
}

/// Feeds `bytes` in pieces of `step` bytes and collects the events.
fn run(bytes: &[u8], step: usize) -> Result<Vec<Event>, Violation> {
    let mut parser = Parser::new();
    let mut events = Vec::new();
    for piece in bytes.chunks(step) {
        let mut input = piece;
        while let Some(event) = parser.feed(&mut input)? {
            events.push(event);
        }
        assert!(input.is_empty(), "a parser without an event has consumed its input");
    }
    Ok(events)
}

/// Data frames with all forms of length and fragmentation are skipped, and control frames between them are found,
/// however the bytes are cut.
#[test]
fn data_is_skipped_and_control_frames_are_seen_at_any_cut() {
    let mut bytes = frame(0x81, b"");
    bytes.extend(frame(0x82, &[0; 200]));
    bytes.extend(frame(0x82, &vec![0; 70_000]));
    bytes.extend(frame(0x01, b"begun"));
    bytes.extend(frame(0x89, b"are you there"));
    bytes.extend(frame(0x80, b"ended"));
    bytes.extend(frame(0x8a, b""));
    bytes.extend(frame(0x88, &[0x03, 0xe8, b'o', b'k']));
    for step in [1, 2, 3, 7, 64, 4096, bytes.len()] {
        let events = run(&bytes, step).unwrap();
        let [Event::Ping(payload), Event::Pong, Event::Close(Some(1000))] = &events[..] else {
            unreachable!("{events:?}");
        };
        assert_eq!(payload.as_bytes(), b"are you there");
    }
}

#[test]
fn what_the_rfc_forbids_is_a_violation() {
    let cases: [(&[u8], u16); 13] = [
        (&[0x82, 0x01, 0x00], 1002),                            // not masked
        (&frame(0xc2, b""), 1002),                              // compressed, though that was never offered
        (&frame(0x83, b""), 1002),                              // reserved data opcode
        (&frame(0x8b, b""), 1002),                              // reserved control opcode
        (&frame(0x80, b""), 1002),                              // continuation of nothing
        (&[frame(0x02, b""), frame(0x82, b"")].concat(), 1002), // message inside a message
        (&frame(0x09, b""), 1002),                              // fragmented ping
        (&frame(0x89, &[0; 126]), 1002),                        // long ping
        (&frame(0x88, &[0x03]), 1002),                          // half a close code
        (&frame(0x88, &1005u16.to_be_bytes()), 1002),           // a code that must not be sent
        (&frame(0x88, &[0x03, 0xe8, 0xff]), 1002),              // a reason that is not UTF-8
        (
            &[0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
            1009,
        ),
        (&[0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 1009), // 4 GiB
    ];
    for (bytes, code) in cases {
        for step in [1, bytes.len()] {
            assert_eq!(
                run(bytes, step).map_err(Violation::close_code),
                Err(code),
                "{bytes:02x?}"
            );
        }
    }
}

/// Arbitrary bytes from a fixed generator never cause a panic, and each answer is an event or a violation.
#[test]
fn garbage_never_panics() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..24)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect();
        drop(run(&bytes, 5));
    }
}
