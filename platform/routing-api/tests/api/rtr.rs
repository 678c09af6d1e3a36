//! `rtr`, the command line client of the original, which uses the original's client library: against this server.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{ChildStdout, Command};

use crate::client::Uaa;
use crate::common::Deployment;
use crate::instances::free_port;

/// The program: by its path in `WEIR_RTR`, or from `PATH`. It comes from no package, so its absence is a skip everywhere.
#[expect(clippy::print_stderr, reason = "a skipped test says so where its other output goes")]
fn program() -> Option<PathBuf> {
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|folder| folder.join("rtr"))
            .find(|path| path.is_file())
    };
    let program = std::env::var_os("WEIR_RTR").map(PathBuf::from).or_else(on_path);
    if program.is_none() {
        eprintln!("skipped: `rtr` is not installed, and `WEIR_RTR` names none");
    }
    program
}

/// The next line that says something.
async fn line(lines: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    while line.trim().is_empty() {
        line.clear();
        assert_ne!(lines.read_line(&mut line).await.unwrap(), 0, "the program ended");
    }
    line.trim().to_owned()
}

/// Routes are registered, listed and removed, and the events of that arrive, with tokens by client credentials.
#[tokio::test]
async fn rtr_works_unchanged() {
    let Some(program) = program() else { return };
    let deployment = Deployment::on_sqlite().await;
    let port = free_port();
    let uaa = Uaa::start(&deployment).await;
    let api = deployment
        .start_with(|raw| raw.plain = Some(format!("127.0.0.1:{port}").parse().unwrap()))
        .await;
    let command = |name: &str, more: &[&str]| {
        let mut command = Command::new(&program);
        command
            .arg(name)
            .args(["--api", &format!("http://127.0.0.1:{port}")])
            .args(["--oauth-url", &format!("https://{}", uaa.address)])
            .args(["--client-id", "routing_api_client", "--client-secret", "secret"])
            .arg("--ca-certs")
            .arg(deployment.authority.ca_file())
            .args(more)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    };
    let run = async |name: &str, more: &[&str]| {
        let output = command(name, more).output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        (output.status.code(), text)
    };
    let mut streaming = command("events", &["--http"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut events = BufReader::new(streaming.stdout.take().unwrap());
    // Nothing says that the program has subscribed, so something happens until it tells of it.
    let mut first = Box::pin(line(&mut events));
    for number in 0.. {
        let probe = format!(r#"[{{"route":"probe.example","port":1,"ip":"1.2.3.4","ttl":55,"log_guid":"{number}"}}]"#);
        let arguments = [probe.as_str()];
        tokio::select! {
            _ = &mut first => break,
            (code, text) = run("register", &arguments) => assert_eq!(code, Some(0), "{text}"),
        }
    }
    drop(first);
    let mut told = async || loop {
        let line = line(&mut events).await;
        if line.contains("foo.example") {
            break line;
        }
    };

    let route = r#"[{"route":"foo.example","port":12345,"ip":"1.2.3.4","ttl":55,"log_guid":"log-guid"}]"#;
    let (code, text) = run("register", &[route]).await;
    assert_eq!(
        (code, text),
        (Some(0), format!("Successfully registered routes: {route}"))
    );
    let upsert = told().await;
    assert!(upsert.contains(r#""Action":"Upsert""#), "{upsert}");
    let (code, text) = run("list", &[]).await;
    assert_eq!(code, Some(0), "{text}");
    let listed: Vec<Value> = serde_json::from_str(&text).unwrap();
    let ttl = |host: &str| {
        listed
            .iter()
            .find(|route| route["route"] == host)
            .map(|route| route["ttl"].clone())
    };
    assert_eq!(ttl("foo.example"), Some(55.into()), "{text}");
    let (code, text) = run("unregister", &[route]).await;
    assert_eq!(code, Some(0), "{text}");
    let delete = told().await;
    assert!(delete.contains(r#""Action":"Delete""#), "{delete}");
    let (_, text) = run("list", &[]).await;
    assert!(!text.contains("foo.example"), "{text}");
    let too_long = route.replace("55", "121");
    let (code, text) = run("register", &[&too_long]).await;
    assert_eq!(
        (code, text.as_str()),
        (Some(3), "route registration failed: Max ttl is 120")
    );
    streaming.kill().await.unwrap();
    api.stop().await;
}
