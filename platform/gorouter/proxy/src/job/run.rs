//! The router as the original's program: `-c FILE` in, start lines out, an exit code at the end.

use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use weir_error::chain;
use weir_flow::LogContext;
use weir_service::Shutdown;

use super::lines::{Lines, TimeFormat};
use super::{Job, material_directory};
use crate::{Config, Server};

/// How long tasks may take to end behind the server.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the original calls a failure, and what happened.
type Failure = (&'static str, String);

/// Serves until the context's shutdown is requested, or says why it cannot. What is under way is finished then, unless `at_once`
/// is requested, too. `words` are those behind the program's name; lines of the original's form go to `out`. Returns the exit
/// code.
pub async fn run(words: &[String], context: LogContext, at_once: Shutdown, out: &mut (dyn Write + Send)) -> u8 {
    let mut lines = Lines {
        out,
        format: TimeFormat::default(),
    };
    let directory = material_directory();
    // It is large, and lives as long as the program.
    let served = Box::pin(serve(words, &context, at_once, &mut lines, &directory)).await;
    // The certificates are of no use to anybody else. What is not there cannot be removed.
    std::fs::remove_dir_all(&directory).ok();
    match served {
        Ok(()) => {
            lines.info("gorouter.exited", Value::Null);
            0
        }
        Err((message, reason)) => {
            lines.fatal(message, &reason);
            1
        }
    }
}

async fn serve(
    words: &[String],
    context: &LogContext,
    at_once: Shutdown,
    lines: &mut Lines<'_>,
    directory: &Path,
) -> Result<(), Failure> {
    let unusable = |reason: String| ("Error loading config", reason);
    let file = file(words).ok_or_else(|| unusable("flag `-c` needs the path of a configuration file".to_owned()))?;
    let text = tokio::fs::read_to_string(&file)
        .await
        .map_err(|error| unusable(error.to_string()))?;
    let job = Job::read(&text, directory, own_address()).map_err(|error| unusable(chain(&error)))?;
    if job.rfc3339 {
        lines.format = TimeFormat::Rfc3339;
    }
    lines.info("starting", Value::Null);
    for (key, reason) in &job.passed_over {
        tracing::warn!(key, reason, "key of the job file has no effect");
    }
    let servers: Vec<String> = job.config.nats.servers.iter().map(ToString::to_string).collect();
    let config = Config::try_from(job.config).map_err(|problems| unusable(problems.to_string()))?;
    lines.info("setting-up-nats-connection", Value::Null);
    let failed = |error: crate::Error| ("initialize-router-error", chain(&error));
    let server = Server::bind(config, context.clone()).await.map_err(failed)?;
    let mut nats = server.nats_state();
    let connected = nats.wait_for(|state| state.is_connected());
    if let Some(Ok(_)) = context.shutdown.unless_requested(connected).await {
        lines.info("Successfully-connected-to-nats", json!({ "host": servers.join(",") }));
    }
    let started = async {
        let health = context.health.clone();
        if context.shutdown.unless_requested(health.serving()).await == Some(Ok(())) {
            lines.info("gorouter.started", Value::Null);
        }
    };
    let (ran, ()) = tokio::join!(server.run_until(at_once), started);
    ran.map_err(failed)?;
    let finished = context.finish(DEADLINE).await;
    finished.map_err(|error| ("gorouter.exited-with-failure", error.to_string()))
}

/// The file behind `-c`.
fn file(words: &[String]) -> Option<PathBuf> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let flag = word.strip_prefix('-')?;
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        match flag.split_once('=') {
            Some(("c", path)) => return Some(path.into()),
            None if flag == "c" => return words.next().map(PathBuf::from),
            _ => {}
        }
    }
    None
}

/// The address that this machine has towards others, which backends and operators are told.
fn own_address() -> IpAddr {
    let found = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        // Nothing is sent: the system only chooses the address.
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    found.map_or(IpAddr::from([127, 0, 0, 1]), |address| address.ip())
}
