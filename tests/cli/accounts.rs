//! `weir login`, `user`, `group` and `client`, with the UAA of a running stack.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};
use std::time::Instant;

use weir_eventually::eventually_blocking;

use crate::stack::{Stack, directory, text};

/// Runs a command with a password on its standard input.
fn with_password(stack: &Stack, arguments: &[&str], password: &str) -> Output {
    stack
        .command(arguments)
        .stdin(self::password(password))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .expect("runs")
}

/// Returns a standard input with a password.
fn password(password: &str) -> fs::File {
    let path = tempfile::NamedTempFile::new().expect("file");
    fs::write(&path, format!("{password}\n")).expect("written");
    fs::File::open(&path).expect("opened")
}

/// Runs a command that must succeed, with a password on its standard input. Returns its output.
fn ok(stack: &Stack, arguments: &[&str], password: &str) -> String {
    let output = with_password(stack, arguments, password);
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

/// Setup: a fresh stack. Must hold: the administrator's password is generated, shown once, and only in files that their owner
/// alone may read. A login with it gives a token of UAA for firehose and SQL, which survives a restart. After the logout,
/// `weir token` prints the operator's token again.
#[test]
fn the_administrator_logs_in() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let endpoints = stack.endpoints();
    let password = endpoints["admin_password"].as_str().expect("generated").to_owned();
    assert_eq!(endpoints["admin_user"], "admin");
    assert!(
        endpoints["uaa"]
            .as_str()
            .is_some_and(|url| url.starts_with("https://127.0.0.1:")),
        "{endpoints}"
    );
    eventually_blocking("the password is shown", || {
        stack.said().contains(&password).then_some(())
    });
    for file in [
        "endpoints.json",
        "uaa/admin-password",
        "uaa/client-secrets.json",
        "uaa/master-key",
        "config/uaa.toml",
    ] {
        let mode = fs::metadata(directory.path().join(file))
            .expect(file)
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{file}");
    }

    let operators = stack.say(&["token"]);
    let wrong = with_password(&stack, &["login", "--user", "admin"], "guessed");
    assert_eq!(wrong.status.code(), Some(3), "{}", text(&wrong));
    assert!(text(&wrong).contains("endpoints admin_password"), "{}", text(&wrong));
    assert_eq!(stack.say(&["token"]), operators);

    let said = ok(&stack, &["login", "--user", "admin"], &password);
    assert!(said.contains("logged in as `admin`: reads everything"), "{said}");
    assert!(!said.contains(&password), "{said}");
    let mode = fs::metadata(directory.path().join("login.json"))
        .expect("kept")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = stack.say(&["token", "--bare"]);
    assert_eq!(token.trim().split('.').count(), 3, "a JWT");
    assert_eq!(stack.say(&["token", "--operator"]), operators);
    stack.feed(&["emit", "--source-id", "web"], b"one\n");
    assert_eq!(
        stack.rows("select count(*) as n from logs where source_id = 'web'")[0]["n"],
        1
    );

    let (status, said) = stack.stop();
    assert!(status.success(), "{said}");
    let stack = Stack::start(directory.path(), &[]);
    assert!(!stack.said().contains(&password), "it is shown once");
    assert_eq!(stack.endpoints()["admin_password"], password.as_str());
    assert_eq!(stack.say(&["token", "--bare"]), token);
    stack.rows("select 1 as one");

    assert!(text(&stack.run(&["logout"])).contains("logged out"));
    assert_eq!(stack.say(&["token"]), operators);
    assert!(!directory.path().join("login.json").exists());
    assert!(text(&stack.run(&["logout"])).contains("nobody"));
}

/// Setup: a user in one group, on a stack with two sources. Must hold: the user sees the rows of one source and no trace of
/// the other. Further groups take effect at the next login. A removed user cannot log in.
#[test]
fn a_user_reads_the_sources_of_their_groups() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    for source in ["web", "db"] {
        stack.feed(&["emit", "--source-id", source], b"line\n");
    }
    let add = ["user", "add", "alice", "--group", "logs.read.web"];
    let said = ok(&stack, &add, "wonderland");
    assert!(said.contains("`alice` is in `logs.read.web`"), "{said}");
    let again = with_password(&stack, &add, "wonderland");
    assert_eq!(again.status.code(), Some(6), "{}", text(&again));
    assert!(text(&again).contains("hint: "), "{}", text(&again));
    let list = stack.say(&["user", "list"]);
    assert!(
        list.lines().any(|line| line == "alice\tuaa\tactive\tlogs.read.web"),
        "plain in a pipe: {list}"
    );
    assert!(list.lines().any(|line| line.starts_with("admin\t")), "{list}");
    let json: serde_json::Value = serde_json::from_str(&stack.say(&["user", "list", "--json"])).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(2));

    let said = ok(&stack, &["login", "--user", "alice"], "wonderland");
    assert!(said.contains("reads web"), "{said}");
    let sources = || stack.rows("select distinct source_id from logs order by 1");
    assert_eq!(sources(), [serde_json::json!({"source_id": "web"})]);

    stack.ok(&["group", "add", "logs.read.db", "--user", "alice"]);
    assert!(
        stack
            .say(&["group", "list"])
            .lines()
            .any(|line| line == "logs.read.db\talice")
    );
    ok(&stack, &["login", "--user", "alice"], "wonderland");
    assert_eq!(
        sources(),
        ["db", "web"].map(|source| serde_json::json!({"source_id": source}))
    );
    stack.ok(&["group", "remove", "logs.read.web", "--user", "alice"]);
    stack.ok(&["group", "remove", "logs.read.db"]);
    ok(&stack, &["login", "--user", "alice"], "wonderland");
    let nothing = stack.run(&["sql", "select count(*) from logs"]);
    assert_eq!(nothing.status.code(), Some(4), "{}", text(&nothing));

    ok(&stack, &["user", "password", "alice"], "looking-glass");
    let old = with_password(&stack, &["login", "--user", "alice"], "wonderland");
    assert_eq!(old.status.code(), Some(3), "{}", text(&old));
    ok(&stack, &["login", "--user", "alice"], "looking-glass");

    stack.ok(&["user", "remove", "alice"]);
    let gone = with_password(&stack, &["login", "--user", "alice"], "looking-glass");
    assert_eq!(gone.status.code(), Some(3), "{}", text(&gone));
    let gone = stack.run(&["user", "remove", "alice"]);
    assert_eq!(gone.status.code(), Some(5), "{}", text(&gone));
}

/// Setup: a client with an authority. Must hold: it is listed without its secret and has its authority; after its removal it
/// is not found. A client without scope and authority is refused, because it could do nothing.
#[test]
fn clients_are_added_and_removed() {
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let useless = with_password(&stack, &["client", "add", "nozzle"], "s3cret");
    assert_eq!(useless.status.code(), Some(2), "{}", text(&useless));
    assert!(text(&useless).contains("--authority"), "{}", text(&useless));
    let add = ["client", "add", "nozzle", "--authority", "doppler.firehose"];
    ok(&stack, &add, "s3cret");
    let list = stack.say(&["client", "list"]);
    assert!(
        list.lines()
            .any(|line| line == "nozzle\tclient_credentials\tdoppler.firehose\t"),
        "{list}"
    );
    assert!(list.lines().any(|line| line.starts_with("cf\t")), "{list}");
    assert!(!stack.say(&["client", "list", "--json"]).contains("s3cret"));
    let again = with_password(&stack, &add, "s3cret");
    assert_eq!(again.status.code(), Some(6), "{}", text(&again));
    stack.ok(&["client", "remove", "nozzle"]);
    assert_eq!(stack.run(&["client", "remove", "nozzle"]).status.code(), Some(5));
}

/// Setup: 60 failed logins with as many names. Must hold: at most one line a second is logged, with the number of lines left
/// out, also in the log cache; the metrics count all failures.
#[test]
fn refusals_are_one_line_a_second() {
    const LOGINS: usize = 60;
    let directory = directory();
    let stack = Stack::start(directory.path(), &[]);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let stack = &stack;
        for worker in 0..6 {
            scope.spawn(move || {
                for number in 0..LOGINS / 6 {
                    let name = format!("nobody-{worker}-{number}");
                    let refused = stack
                        .command(&["login", "--user", &name])
                        .stdin(password("guessed"))
                        .output()
                        .expect("runs");
                    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused));
                }
            });
        }
    });
    let seconds = started.elapsed().as_secs();
    let rows = eventually_blocking("the first refusal is logged", || {
        let rows = stack.rows("select body from logs where source_id = 'uaa' and body like 'a login failed%'");
        (!rows.is_empty()).then_some(rows)
    });
    assert!(
        rows.len() as u64 <= seconds + 2 && rows.len() < LOGINS / 2,
        "{} lines in {seconds} s",
        rows.len()
    );
    let count = "select max(total) as n from counters where name = 'log_lines_swallowed'";
    eventually_blocking("the lines left out are counted", || {
        let swallowed = stack.rows(count)[0]["n"].as_u64()?;
        (swallowed >= (LOGINS - rows.len()) as u64).then_some(())
    });
}
