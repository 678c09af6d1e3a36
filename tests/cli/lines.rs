//! Lines of `emit` and `run` come out of `recent`, `tail` and `sql`: all of them, byte for byte, in order.

use std::io::Read as _;
use std::process::Stdio;

use weir_eventually::eventually_blocking;

use crate::stack::{Background, Stack, directory, text};

/// Returns lines as files may have them: with carriage returns, empty, not UTF-8, long, the last without a newline.
fn awkward() -> (Vec<u8>, usize) {
    let mut input = Vec::new();
    let mut lines = 0;
    for number in 0..5000_u32 {
        match number % 5 {
            0 => input.extend_from_slice(format!("line {number}\r").as_bytes()),
            1 => {}
            2 => input.extend_from_slice(b"\xff\xfe\x00 not text \x1b[1m"),
            3 => input.extend_from_slice("größe 🦀 ".repeat(20).as_bytes()),
            _ => input.extend_from_slice(&number.to_le_bytes().map(|byte| if byte == b'\n' { b'x' } else { byte })),
        }
        input.push(b'\n');
        lines += 1;
    }
    input.extend_from_slice(b"the last one has no end");
    (input, lines + 1)
}

/// `emit` sends each line once. SQL counts them, and `recent` and a `tail` that was started before print them byte for byte,
/// in order.
#[test]
fn emitted_lines_come_out_byte_for_byte() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let (input, lines) = awkward();

    let caught = directory.path().join("tail.out");
    let tail = stack
        .command(&["tail", "awkward", "--body"])
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&caught).expect("file"))
        .spawn()
        .expect("starts");
    let _tail = Background(tail);
    // `tail` is subscribed once it prints a probe. No line of the input has the body of a probe.
    eventually_blocking("tail listens", || {
        stack.feed(&["emit", "--source-id", "awkward", "--quiet"], b"probe\n");
        (std::fs::metadata(&caught).expect("file").len() > 0).then_some(())
    });
    let probes = stack
        .ok(&["recent", "awkward", "-n", "10000", "--body"])
        .split(|byte| *byte == b'\n')
        .count()
        - 1;

    let summary = stack.feed(&["emit", "--source-id", "awkward"], &input);
    assert_eq!(summary, format!("sent {0}, taken {0}, dropped 0\n", "5,001"));
    let count = stack.rows("select count(*) as n from logs where source_id = 'awkward'");
    assert_eq!(count[0]["n"].as_u64(), Some((lines + probes) as u64));

    let mut expected = b"probe\n".repeat(probes);
    expected.extend_from_slice(&input);
    expected.push(b'\n');
    assert!(
        stack.ok(&["recent", "awkward", "-n", "100000", "--body"]) == expected,
        "recent differs"
    );
    let last = stack.say(&["recent", "awkward", "-n", "1"]);
    assert!(
        last.ends_with("[APP/0] OUT the last one has no end\n") && last.lines().count() == 1,
        "{last}"
    );

    let ends = b"the last one has no end\n";
    eventually_blocking("tail got the last line", || {
        std::fs::read(&caught).expect("file").ends_with(ends).then_some(())
    });
    let seen = std::fs::read(&caught).expect("file");
    // Probes that were sent before `tail` was subscribed are missing in its output.
    let first = seen
        .split(|byte| *byte == b'\n')
        .position(|line| line != b"probe")
        .expect("more than probes");
    assert!(
        seen[first * b"probe\n".len()..] == expected[probes * b"probe\n".len()..],
        "tail differs"
    );
}

/// A line above the limit of an envelope is sent in pieces, which together have all its bytes.
#[test]
fn long_lines_are_sent_in_pieces() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let long = "ä".repeat(100_000);
    let summary = stack.feed(&["emit", "--source-id", "long"], format!("{long}\nshort\n").as_bytes());
    assert!(
        summary.starts_with("sent 5 (3 of them because of lines above 61,440 bytes)"),
        "{summary}"
    );
    let bodies = stack.say(&["recent", "long", "--body"]);
    assert_eq!(bodies.replace('\n', ""), format!("{long}short"));
}

/// Setup: an idle stack with buffers of 6 MiB, which a debug build fills as fast as a release build fills the default ones, and
/// 128 MiB without a newline. Must hold: `emit` waits for the pipeline instead of overflowing the buffers, so every piece is
/// taken.
#[test]
fn emit_waits_instead_of_losing() {
    let directory = directory();
    let buffers = [
        ("FORWARDER_AGENT__BUFFER__BYTES", "6MiB"),
        ("LOGGREGATOR_AGENT__BUFFER__BYTES", "6MiB"),
        ("DOPPLER__QUEUE__BYTES", "6MiB"),
    ];
    let stack = Stack::start_with(directory.path(), &[], &buffers);
    let summary = stack.feed(&["emit", "--source-id", "endless"], &vec![b'x'; 128 << 20]);
    assert!(
        summary.starts_with("sent 2,185 (2,184 of them") && summary.ends_with(", taken 2,185, dropped 0\n"),
        "{summary}"
    );
    let dropped = stack.rows("select coalesce(sum(count), 0) as n from drops where source_id = 'endless'");
    assert_eq!(dropped[0]["n"], 0);
}

/// Setup: a program that prints without end, and a reader that is closed after the first line. Must hold: the program ends by
/// `SIGPIPE`, as without `weir run`; the exit status is that of the signal; the lines that were read are shipped.
#[test]
fn a_program_ends_with_its_reader() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let mut run = Background(
        stack
            .command(&["run", "--source-id", "endless", "--", "yes"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts"),
    );
    let mut stdout = run.0.stdout.take().expect("piped");
    let mut first = [0; 2];
    stdout.read_exact(&mut first).expect("a line");
    assert_eq!(&first, b"y\n");
    drop(stdout);
    let status = eventually_blocking("it ends", || run.0.try_wait().expect("waited"));
    assert_eq!(status.code(), Some(128 + 13), "{status}");
    let lines = stack.rows("select count(*) as n from logs where source_id = 'endless' and body = 'y'");
    assert!(lines[0]["n"].as_u64() > Some(0), "{lines:?}");
}

/// `tail` and `sql --follow` end when their reader is closed, even if no line comes whose write would fail.
#[test]
fn a_silent_tail_ends_with_its_reader() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let query = "select body from logs where source_id = 'silent'";
    for arguments in [&["tail", "silent"][..], &["sql", "--follow", query]] {
        let command = stack
            .command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut command = Background(command.expect("starts"));
        drop(command.0.stdout.take());
        let status = eventually_blocking("it ends", || command.0.try_wait().expect("waited"));
        assert!(status.success(), "{arguments:?}: {status}");
    }
}

/// `run` passes the program's output through, ships it as OUT and ERR, and ends with the program's exit status.
#[test]
fn run_ships_output_and_keeps_the_status() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let script = "echo out; echo err >&2; printf 'no end'; exit 7";
    let output = stack.run(&["run", "--source-id", "script", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(7), "{}", text(&output));
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"out\nno end"[..], &b"err\n"[..])
    );
    let rows = stack.rows("select stream, body from logs where source_id = 'script' order by body");
    let rows: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| (row["stream"].as_str().unwrap_or(""), row["body"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(rows, [("ERR", "err"), ("OUT", "no end"), ("OUT", "out")]);

    let killed = stack.run(&["run", "--quiet", "--", "sh", "-c", "kill -KILL $$"]);
    assert_eq!(killed.status.code(), Some(137), "{}", text(&killed));
}

/// `run` does not slow a program down that prints much; each of its lines is stored or reported as possibly missing.
#[test]
fn a_noisy_program_is_accounted_for() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let output = stack.run(&["run", "--quiet", "--source-id", "noisy", "--", "seq", "1", "50000"]);
    assert!(output.status.success(), "{}", text(&output));
    let count = stack.rows("select count(*) as n from logs where source_id = 'noisy'")[0]["n"]
        .as_u64()
        .expect("a number");
    let said = String::from_utf8_lossy(&output.stderr);
    if said.is_empty() {
        assert_eq!(count, 50_000);
    } else {
        assert!(said.contains("of 50,000 lines may be missing"), "{said}");
    }
}
