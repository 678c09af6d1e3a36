//! Tests of lines, which must not depend on how the input is cut into reads.

use super::*;

/// Returns all lines of `input`, read in chunks of `chunk` bytes.
fn split(rule: Rule, input: &[u8], chunk: usize) -> Vec<Vec<u8>> {
    let mut splitter = Splitter::new(rule);
    let mut lines = Vec::new();
    for part in input.chunks(chunk) {
        splitter.push(part, |line| lines.push(line.to_vec()));
    }
    splitter.finish(|line| lines.push(line.to_vec()));
    lines
}

/// Carriage returns, empty lines, bytes that are not UTF-8 and a last line without an end are kept.
#[test]
fn exact_keeps_every_byte() {
    let input = b"one\r\n\n\xff\xfe\nlast";
    for chunk in 1..=input.len() {
        assert_eq!(
            split(Rule::Exact, input, chunk),
            [&b"one\r"[..], b"", b"\xff\xfe", b"last"]
        );
    }
}

/// A final newline ends the last line and does not begin another.
#[test]
fn a_final_newline_adds_no_line() {
    assert_eq!(split(Rule::Exact, b"a\n", 8), [b"a"]);
    assert_eq!(split(Rule::Exact, b"\n", 8), [b""]);
    assert!(split(Rule::Exact, b"", 8).is_empty());
}

/// With the rule of cells, `\r` ends a line too, and empty lines are not sent.
#[test]
fn program_output_is_split_as_the_cell_does() {
    let input = b"10%\r20%\r\n\n\ndone";
    for chunk in 1..=input.len() {
        assert_eq!(split(Rule::Program, input, chunk), [&b"10%"[..], b"20%", b"done"]);
    }
}

/// The longest allowed line is one piece, one byte more makes two, and nothing is lost.
#[test]
fn long_lines_are_cut() {
    for (length, pieces) in [
        (MAX_LINE, 1),
        (MAX_LINE + 1, 2),
        (2 * MAX_LINE, 2),
        (2 * MAX_LINE + 1, 3),
    ] {
        let mut input = vec![b'x'; length];
        input.extend_from_slice(b"\nnext\n");
        for chunk in [1000, MAX_LINE, length + 6] {
            let lines = split(Rule::Exact, &input, chunk);
            assert_eq!(lines.len(), pieces + 1, "{length} bytes in chunks of {chunk}");
            assert_eq!(lines[..pieces].concat(), input[..length]);
            assert!(lines.iter().all(|line| line.len() <= MAX_LINE));
            assert_eq!(lines[pieces], b"next");
        }
    }
}

/// Cuts fall between characters, wherever the limit falls within one.
#[test]
fn cuts_respect_utf8() {
    for shift in 0..4 {
        let text = format!("{}{}\n", "a".repeat(shift), "🦀".repeat(MAX_LINE / 2));
        for chunk in [777, text.len()] {
            let lines = split(Rule::Program, text.as_bytes(), chunk);
            assert_eq!(lines.concat(), text.trim_end().as_bytes());
            for line in lines {
                assert!(line.len() <= MAX_LINE);
                assert!(std::str::from_utf8(&line).is_ok(), "cut inside a character");
            }
        }
    }
}

/// Bytes that are not UTF-8 are cut at the limit.
#[test]
fn binary_lines_are_cut_at_the_limit() {
    let input = vec![0b1000_0000; MAX_LINE * 2 + 5];
    let lines = split(Rule::Exact, &input, 4096);
    assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_LINE, MAX_LINE, 5]);
}

/// The pieces of long lines beyond the first are counted.
#[test]
fn extra_pieces_are_counted() {
    let mut splitter = Splitter::new(Rule::Exact);
    let mut lines = 0_u64;
    splitter.push(&vec![b'x'; 3 * MAX_LINE], |_| lines += 1);
    splitter.push(b"\nshort\n", |_| lines += 1);
    splitter.finish(|_| lines += 1);
    assert_eq!((lines, splitter.extra_pieces()), (4, 2));
}
