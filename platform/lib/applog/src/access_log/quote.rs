//! Text inside quotes, as Go's `strconv.Quote` writes it.

use std::fmt::Write as _;

/// Appends text so that it can stand in double quotes on one line: quotes, backslashes and what cannot be printed are
/// escaped, and bytes that are not UTF-8 become `\xNN`.
pub(super) fn put_quoted(out: &mut Vec<u8>, text: &[u8]) {
    // Nearly all text is plain. Without an end in between, many bytes are looked at in one step.
    if text
        .iter()
        .fold(true, |is_plain_so_far, byte| is_plain_so_far & is_plain(*byte))
    {
        out.extend_from_slice(text);
        return;
    }
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| !is_plain(*byte)) {
        out.extend_from_slice(&rest[..at]);
        rest = put_first(out, &rest[at..]);
    }
    out.extend_from_slice(rest);
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Appends the first character of text that is not plain; returns the rest.
fn put_first<'t>(out: &mut Vec<u8>, text: &'t [u8]) -> &'t [u8] {
    let short = match text[0] {
        0x07 => b'a',
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x0b => b'v',
        byte @ (b'"' | b'\\') => byte,
        byte @ (..0x80) => return put_hexadecimal(out, 'x', 2, u32::from(byte), &text[1..]),
        byte => return put_wide(out, text, byte),
    };
    out.extend([b'\\', short]);
    &text[1..]
}

/// Appends the first character of text, which does not begin with ASCII.
fn put_wide<'t>(out: &mut Vec<u8>, text: &'t [u8], first: u8) -> &'t [u8] {
    // No character has more than four bytes; what follows the first one may be cut off here.
    let character = text[..text.len().min(4)]
        .utf8_chunks()
        .next()
        .and_then(|chunk| chunk.valid().chars().next());
    let Some(character) = character else {
        return put_hexadecimal(out, 'x', 2, u32::from(first), &text[1..]);
    };
    let (own, rest) = text.split_at(character.len_utf8());
    let code = u32::from(character);
    if is_printable(character) {
        out.extend_from_slice(own);
        rest
    } else if code < 0x1_0000 {
        put_hexadecimal(out, 'u', 4, code, rest)
    } else {
        put_hexadecimal(out, 'U', 8, code, rest)
    }
}

/// Appends an escape of `digits` hexadecimal digits; returns `rest`.
fn put_hexadecimal<'t>(out: &mut Vec<u8>, kind: char, digits: usize, code: u32, rest: &'t [u8]) -> &'t [u8] {
    let mut escape = String::with_capacity(10);
    write!(escape, "\\{kind}{code:0digits$x}").expect("a string takes all text");
    out.extend_from_slice(escape.as_bytes());
    rest
}

/// Whether Go prints a character outside of ASCII as it is.
fn is_printable(character: char) -> bool {
    // After a letter only what cannot be printed is escaped; at the beginning, marks that join a letter are as well.
    let mut text = String::from("a");
    text.push(character);
    text.escape_debug().count() == 2
}
