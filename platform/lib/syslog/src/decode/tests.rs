use super::*;

/// Decodes `stream` in pieces of `step` bytes; returns messages as text, faults by name, and the bytes left at the end.
fn decode(framing: Framing, max_message: usize, stream: &[u8], step: usize) -> Vec<String> {
    let mut decoder = Decoder::new(framing, max_message);
    let mut held: Vec<u8> = Vec::new();
    let mut found = Vec::new();
    for piece in stream.chunks(step) {
        held.extend_from_slice(piece);
        let mut rest = held.as_slice();
        while let Some(item) = decoder.next(&mut rest) {
            found.push(text(item));
        }
        let left = rest.len();
        held.drain(..held.len() - left);
        assert!(
            held.len() < decoder.min_buffer(),
            "more is left than the caller can hold"
        );
    }
    found.extend(decoder.finish(&held, true).map(text));
    found
}

fn text(item: Item<'_>) -> String {
    match item {
        Item::Message(message) => String::from_utf8_lossy(message).into_owned(),
        Item::Fault(fault) => format!("{fault:?}"),
    }
}

/// Asserts that a stream decodes as expected, whatever the size of the pieces.
fn check(framing: Framing, max_message: usize, stream: &[u8], expected: &[&str]) {
    for step in [1, 2, 3, 7, 1000] {
        let found = decode(framing, max_message, stream, step);
        assert_eq!(
            found,
            expected,
            "{step} bytes at a time of {:?}",
            String::from_utf8_lossy(stream)
        );
    }
}

fn counted(stream: &str, expected: &[&str]) {
    check(Framing::OctetCounted, 20, stream.as_bytes(), expected);
}

#[test]
fn octet_counted_messages_are_cut_out() {
    counted("", &[]);
    counted("5 <14>15 <14>2", &["<14>1", "<14>2"]);
    // A newline within a message is content; one between messages is ignored.
    counted("6 <14>\n6 <14>1\n\n\n5 <14>2", &["<14>\n6", "Framing", "<14>2"]);
    counted("6 <14>1\n\n\n5 <14>2\n", &["<14>1\n", "<14>2"]);
    counted("20 <14>xxxxxxxxxxxxxxxx1 <", &["<14>xxxxxxxxxxxxxxxx", "<"]);
}

#[test]
fn a_message_that_is_too_long_is_skipped() {
    let long = "x".repeat(5000);
    counted(&format!("5 <14>15001 <{long}5 <14>2"), &["<14>1", "TooLong", "<14>2"]);
    counted("21 <14>xxxxxxxxxxxxxxxxx5 <14>2", &["TooLong", "<14>2"]);
    counted("999999999 <14>", &["TooLong"]);
}

#[test]
fn after_bad_framing_the_next_line_is_searched_for_a_frame() {
    let next = "7 <14>1 x";
    for bad in [
        "hello",
        "0",
        "05 <14>",
        "5<14>1",
        "5 14>1",
        "1234567890 <14>1",
        " ",
        "-5 <",
        "<14>1 no count",
        "5  <",
    ] {
        counted(&format!("{next}{bad}\n{next}"), &["<14>1 x", "Framing", "<14>1 x"]);
        counted(&format!("{bad}\n\n{bad}\n{next}"), &["Framing", "<14>1 x"]);
    }
    // A line that begins with a number need not be a frame.
    counted(
        &format!("?\n5 <x>1\n5 <1234>1\n6 <14>x\n5 <>1\n5 <--\n5 \n5\n{next}"),
        &["Framing", "<14>1 x"],
    );
    counted("?\n6 <-1>1 8 <191>1 x", &["Framing", "<-1>1 ", "<191>1 x"]);
    // Text in the middle of a line is no frame even if it looks like one: after a wrong count it is an app's output.
    counted(
        "5 <14>1 my line 7 <14>1 forged\n7 <14>1 x",
        &["<14>1", "Framing", "<14>1 x"],
    );
}

#[test]
fn the_end_of_the_stream_may_be_the_end_of_a_message() {
    counted("5 <14", &["Truncated"]);
    counted("5", &["Truncated"]);
    counted("50 <14", &["TooLong"]);
    counted("?", &["Framing"]);
    counted("5 <14>1\n", &["<14>1"]);
    let mut decoder = Decoder::new(Framing::NonTransparent, 20);
    assert_eq!(decoder.finish(b"<14>1", true), Some(Item::Message(b"<14>1")));
    assert_eq!(decoder.finish(b"<14>1", false), Some(Item::Fault(Fault::Truncated)));
    assert_eq!(decoder.finish(b"", false), None);
}

#[test]
fn lines_are_cut_at_newlines() {
    let line = |stream: &str, expected: &[&str]| check(Framing::NonTransparent, 8, stream.as_bytes(), expected);
    line("", &[]);
    line("<14>1\n<14>2\n", &["<14>1", "<14>2"]);
    line("\n\n<14>1\r\n\n<14>2", &["<14>1\r", "<14>2"]);
    line("12345678\n123456789\n12\n", &["12345678", "TooLong", "12"]);
    line(&format!("{}\n1", "x".repeat(100)), &["TooLong", "1"]);
    line(&"x".repeat(100), &["TooLong"]);
}

/// A connection on which no frame is found is reported as lost after a bounded number of bytes.
#[test]
fn a_connection_without_frames_is_lost() {
    let mut decoder = Decoder::new(Framing::OctetCounted, 1000);
    let noise = [b'x'; 4096];
    let mut fed = 0;
    while !decoder.is_lost() {
        let mut rest = &noise[..];
        while decoder.next(&mut rest).is_some() {}
        assert!(rest.is_empty());
        fed += 1;
        assert!(fed < 1000);
    }
    assert!(fed > 200);
}
