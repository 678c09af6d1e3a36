//! The commands that read from a stack: `endpoints`, `token`, `sql`, `top`, `recent`.

use std::io::Read as _;
use std::process::Stdio;

use weir_eventually::eventually_blocking;

use crate::stack::{Background, Stack, command, directory, text};

/// `endpoints` prints a value without quotes, and `token` prints the value of an `Authorization` header.
#[test]
fn endpoints_and_token_are_ready_for_scripts() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    assert_eq!(
        stack.say(&["endpoints", "rlp"]).trim_end(),
        stack.endpoints()["rlp"].as_str().expect("an address")
    );
    assert_eq!(
        stack.say(&["endpoints", "pids.rlp"]).trim_end(),
        stack.pid().to_string()
    );
    assert_eq!(stack.run(&["endpoints", "console"]).status.code(), Some(5));
    let token = stack.say(&["token"]);
    assert_eq!(
        token.strip_prefix("bearer "),
        Some(stack.say(&["token", "--bare"]).as_str())
    );
}

/// `sql` prints every format, and a wrong query ends with a hint and its exit code. The stack's own metrics are rows, too.
#[test]
fn sql_answers_in_all_formats() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    stack.feed(&["emit", "--source-id", "sql"], b"one\ntwo\n");
    let query = "select body from logs where source_id = 'sql' order by body";
    assert_eq!(stack.say(&["sql", "--format", "csv", query]), "body\none\ntwo\n");
    assert_eq!(
        stack.rows(query),
        [serde_json::json!({"body": "one"}), serde_json::json!({"body": "two"})]
    );
    let json: serde_json::Value = serde_json::from_str(&stack.say(&["sql", "--format", "json", query])).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(2));
    let table = stack.say(&["sql", query]);
    assert!(table.contains("| body |") && table.contains("| one  |"), "{table}");
    assert!(stack.ok(&["sql", "--format", "arrow", query]).len() > 100);

    let wrong = stack.run(&["sql", "select * from log"]);
    assert_eq!(wrong.status.code(), Some(2), "{}", text(&wrong));
    assert!(
        text(&wrong).contains("error: ") && text(&wrong).contains("hint: "),
        "{}",
        text(&wrong)
    );
    let write = stack.run(&["sql", "delete from logs"]);
    assert!(!write.status.success(), "{}", text(&write));

    eventually_blocking("the stack's own logs and metrics are there", || {
        let own = stack.rows("select count(*) as n from counters where source_id = 'doppler'");
        (own[0]["n"].as_u64() > Some(0)).then_some(())
    });
}

/// `--follow` prints the matching rows as they arrive, and no others.
#[test]
fn sql_follows_the_stream() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let mut follow = stack
        .command(&[
            "sql",
            "--follow",
            "select body from logs where source_id = 'app' and body like '%wanted%'",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdout = follow.stdout.take().expect("piped");
    let _follow = Background(follow);
    let reader = std::thread::spawn(move || {
        let mut first = [0; 256];
        let length = stdout.read(&mut first).expect("read");
        String::from_utf8_lossy(&first[..length]).into_owned()
    });
    eventually_blocking("a row arrives", || {
        stack.feed(&["emit", "--source-id", "app", "--quiet"], b"noise\nwanted\n");
        reader.is_finished().then_some(())
    });
    let first = reader.join().expect("read");
    assert!(first.starts_with(r#"{"body":"wanted"}"#), "{first}");
}

/// `top --once` shows a source with the number of its stored lines.
#[test]
fn top_shows_the_busiest() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    stack.feed(&["emit", "--source-id", "busy"], &b"line\n".repeat(1234));
    let top = stack.say(&["top", "--once"]);
    let row = top
        .lines()
        .find(|line| line.starts_with("busy "))
        .unwrap_or_else(|| panic!("no such row:\n{top}"));
    assert!(row.contains("1,234"), "{row}");
}

/// A command ends with success and no message if the reader of its output is closed.
#[test]
fn a_closed_pipe_is_quiet() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    stack.feed(&["emit", "--source-id", "pipe"], &b"line\n".repeat(5000));
    let mut recent = stack
        .command(&["recent", "pipe", "-n", "5000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    drop(recent.stdout.take());
    let output = recent.wait_with_output().expect("waited");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
}

/// `--example` prints a configuration with comments, and that configuration has the default values.
#[test]
fn the_example_configuration_has_the_defaults() {
    let directory = directory();
    let run = |arguments: &[&str]| command(directory.path()).args(arguments).output().expect("runs");
    let example = run(&["doppler", "--example"]);
    let text = String::from_utf8(example.stdout).expect("UTF-8");
    assert!(example.status.success());
    assert!(
        text.contains("# Most envelopes.\n# Must be at least 100.\nenvelopes = 65536\n"),
        "{text}"
    );
    let path = directory.path().join("doppler.toml");
    std::fs::write(&path, text).expect("written");
    let path = path.to_str().expect("UTF-8");
    let checked = run(&["doppler", "--config", path, "--check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    assert_eq!(checked.stdout, run(&["doppler", "--check"]).stdout);
}
