//! What applications wrote, on the operator's terminal: shown, never obeyed.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::stack::{Stack, WEIR, directory, text};

/// Writes the clipboard, hides what stands before it, and turns the direction of writing.
const EVIL: &str = "\u{1b}]52;c;cm0gLXJm\u{7}shown\rhidden\u{202e}\u{9b}2J";

/// A `weir` command whose three standard streams are a terminal, by util-linux's `script`; what the terminal got.
fn on_terminal(directory: &Path, arguments: &[&str]) -> String {
    let quoted: Vec<String> = [WEIR]
        .iter()
        .chain(arguments)
        .map(|argument| format!("'{}'", argument.replace('\'', r"'\''")))
        .collect();
    let output = Command::new("script")
        .args(["--quiet", "--return", "--echo", "never", "--command"])
        .args([&quoted.join(" "), "/dev/null"])
        .current_dir(directory)
        .envs([("NO_COLOR", "1"), ("TERM", "xterm"), ("SHELL", "/bin/sh")])
        .env("WEIR_STATE_DIR", directory)
        .stdin(Stdio::null())
        .output()
        .expect("`script` of util-linux runs");
    assert!(!output.stdout.is_empty(), "{}", text(&output));
    // The terminal itself makes two characters of each newline.
    String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n")
}

fn obeyed(shown: &str) -> Vec<char> {
    let harmful = |letter: &char| (letter.is_control() && !"\n\t".contains(*letter)) || *letter == '\u{202e}';
    shown.chars().filter(harmful).collect()
}

/// Setup: an application that chooses its name, its source type and its lines to harm who looks. Must hold: no command gives a
/// terminal anything that it would obey; `--raw` and pipes have every byte; the lines of `recent` are what the program wrote,
/// and nothing around them is obeyed.
#[test]
fn a_terminal_obeys_no_application() {
    if Command::new("script").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("WEIR_REQUIRED").is_none_or(|value| value != "1"),
            "WEIR_REQUIRED=1 allows no skips: no `script` of util-linux"
        );
        println!("skipped: no `script` of util-linux, which makes a terminal");
        return;
    }
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let emit = ["emit", "--source-id", EVIL, "--source-type", EVIL];
    stack.feed(&emit, format!("{EVIL}\n").as_bytes());
    stack.ok(&[
        "drain",
        "add",
        "--no-probe",
        "--source-id",
        EVIL,
        "syslog://127.0.0.1:9",
    ]);
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
        assert!(obeyed(&shown).is_empty(), "{arguments:?}: {shown:?}");
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
    assert!(obeyed(head).is_empty(), "{head:?}");
    assert!(head.contains('␛') && body == EVIL, "{line:?}");
}
