//! The commands that look at a stack.

use std::io::Read as _;
use std::process::Stdio;

use weir_eventually::eventually_blocking;

use crate::stack::{Background, Stack, command, directory, text};

/// Values are ready for a shell, a token for a header.
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

/// All formats; mistakes are answered with a hint and their own exit code; the stack sees itself.
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

/// `--follow` gives what was there and what comes, and nothing else.
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

/// One look: the busy source with what is held of it.
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

/// A reader that goes away ends a command without a word.
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

/// A component prints its configuration with comments, and takes it back.
#[test]
fn a_component_explains_its_configuration() {
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
