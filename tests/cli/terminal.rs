//! Output on a terminal: control characters of applications are shown and have no effect; wide tables; the pager.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::stack::{Stack, WEIR, directory, text};

/// A text that would write to the clipboard, overwrite the line, reverse the direction of writing and clear the screen.
const EVIL: &str = "\u{1b}]52;c;cm0gLXJm\u{7}shown\rhidden\u{202e}\u{9b}2J";

/// Runs a `weir` command on a terminal of 100 columns, made by util-linux's `script`. Returns the bytes for the terminal.
fn on_terminal(directory: &Path, arguments: &[&str]) -> String {
    on_terminal_of(100, "cat", directory, arguments)
}

/// Runs a `weir` command on a terminal of `columns` columns with `PAGER` set to `pager`. Returns the bytes for the terminal.
fn on_terminal_of(columns: usize, pager: &str, directory: &Path, arguments: &[&str]) -> String {
    let quoted: Vec<String> = [WEIR]
        .iter()
        .chain(arguments)
        .map(|argument| format!("'{}'", argument.replace('\'', r"'\''")))
        .collect();
    let command = format!("stty rows 24 cols {columns}; {}", quoted.join(" "));
    let output = Command::new("script")
        .args([
            "--quiet",
            "--return",
            "--echo",
            "never",
            "--command",
            &command,
            "/dev/null",
        ])
        .current_dir(directory)
        .envs([
            ("NO_COLOR", "1"),
            ("TERM", "xterm"),
            ("SHELL", "/bin/sh"),
            ("PAGER", pager),
        ])
        .env("WEIR_STATE_DIR", directory)
        .stdin(Stdio::null())
        .output()
        .expect("`script` of util-linux runs");
    assert!(!output.stdout.is_empty(), "{}", text(&output));
    // The terminal's line discipline writes CR LF for each newline.
    String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n")
}

/// Returns whether `script` is installed. Without it, the test is skipped, or fails if `WEIR_REQUIRED=1`.
#[expect(clippy::print_stdout, reason = "a test says what it skips")]
fn has_terminal() -> bool {
    if Command::new("script").arg("--version").output().is_ok() {
        return true;
    }
    assert!(
        std::env::var_os("WEIR_REQUIRED").is_none_or(|value| value != "1"),
        "WEIR_REQUIRED=1 allows no skips: no `script` of util-linux"
    );
    println!("skipped: no `script` of util-linux, which makes a terminal");
    false
}

/// Returns the characters of a text that have an effect on a terminal.
fn control_characters(shown: &str) -> Vec<char> {
    let harmful = |letter: &char| (letter.is_control() && !"\n\t".contains(*letter)) || *letter == '\u{202e}';
    shown.chars().filter(harmful).collect()
}

/// Setup: an application whose source id, source type and lines have harmful control characters. Must hold: no command sends
/// them to a terminal; `--raw` and pipes get every byte; the log bodies of `recent` are unchanged, and the text around them is
/// neutralized.
#[test]
fn control_characters_of_applications_are_neutralized() {
    if !has_terminal() {
        return;
    }
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let emit = ["emit", "--source-id", EVIL, "--source-type", EVIL];
    stack.feed(&emit, format!("{EVIL}\n").as_bytes());
    let see = |arguments: &[&str]| on_terminal(directory.path(), arguments);

    let query = "select source_id, source_type, body from logs where source_type <> 'LGR'";
    let unknown = format!("select \"{EVIL}\" from logs");
    for arguments in [
        &["sql", query][..],
        &["sql", "--format", "csv", query],
        &["sql", "--format", "json", query],
        &["sql", &unknown],
        &["top", "--once"],
        &["drain", "list"],
        &["drain", "list", "--json"],
        &["drain", "remove", EVIL],
        &["drain", "add", "--source-id", EVIL, "syslog://127.0.0.1:9"],
        &["recent", EVIL, "--json"],
        &["recent", EVIL, "--type", "counter"],
        &["doctor"],
        &["endpoints", EVIL],
    ] {
        let shown = see(arguments);
        assert!(control_characters(&shown).is_empty(), "{arguments:?}: {shown:?}");
    }
    let shown = see(&["sql", "--format", "csv", query]);
    assert!(shown.contains("␛]52;c;cm0gLXJm␇shown␍hidden"), "{shown}");
    assert_eq!(see(&["top", "--once"]).matches('␛').count(), 1);

    let raw = see(&["--raw", "sql", "--format", "csv", query]);
    assert!(raw.contains(EVIL), "{raw:?}");
    let piped = stack.say(&["sql", "--format", "csv", query]);
    assert_eq!(piped.matches(EVIL).count(), 3, "{piped:?}");

    let recent = see(&["recent", EVIL]);
    let line = recent
        .lines()
        .find(|line| line.contains(" OUT "))
        .unwrap_or_else(|| panic!("no line: {recent:?}"));
    let (head, body) = line.split_once(" OUT ").expect("found");
    assert!(control_characters(head).is_empty(), "{head:?}");
    assert!(head.contains('␛') && body == EVIL, "{line:?}");
}

/// Setup: an answer that takes 37 columns as a table. Must hold: a narrower terminal gets a line for each column; `--wide` and
/// pipes get the table; `--vertical` gets a line for each column everywhere.
#[test]
fn wide_answers_are_vertical_on_a_terminal() {
    if !has_terminal() {
        return;
    }
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let query = "select 'a line of some length' as body, 'web' as source_id";
    let table = "\
        +-----------------------+-----------+\n\
        | body                  | source_id |\n\
        +-----------------------+-----------+\n\
        | a line of some length | web       |\n\
        +-----------------------+-----------+\n";
    let records = "\
        -[ record 1 ]--------------------\n\
        body      | a line of some length\n\
        source_id | web\n";
    let see = |columns, arguments: &[&str]| on_terminal_of(columns, "cat", directory.path(), arguments);
    let width = table.lines().next().map_or(0, str::len);
    assert_eq!(see(width, &["sql", query]), table);
    assert_eq!(see(width - 1, &["sql", query]), records);
    assert_eq!(see(width - 1, &["sql", "--wide", query]), table);
    assert_eq!(see(width, &["sql", "--vertical", query]), records);
    assert_eq!(stack.say(&["sql", query]), table);
    assert_eq!(stack.say(&["sql", "-x", query]), records);
}

/// Setup: a pager that marks each line. Must hold: an answer on a terminal goes through it, unless `--no-pager` is given; output
/// to a pipe does not; a missing pager is reported, and a pager that ends early ends the command without a message.
#[test]
fn answers_go_through_the_pager() {
    if !has_terminal() {
        return;
    }
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let query = "select 1 as one";
    let csv = ["sql", "--format", "csv", query];
    let see = |pager, arguments: &[&str]| on_terminal_of(100, pager, directory.path(), arguments);
    assert_eq!(see("sed 's/^/> /'", &csv), "> one\n> 1\n");
    assert_eq!(
        see("sed 's/^/> /'", &["sql", "--no-pager", "--format", "csv", query]),
        "one\n1\n"
    );
    assert_eq!(stack.say(&csv), "one\n1\n");
    let missing = see("no-such-pager", &csv);
    assert!(
        missing.contains("error: pager `no-such-pager`: no such program\nhint: "),
        "{missing}"
    );
    let long = "select value from generate_series(1, 10000) order by value";
    assert_eq!(see("head -2", &["sql", "--format", "csv", long]), "value\n1\n");
}
