//! The routing API as the original's program: flags and file in, start lines out, an exit code at the end.

use std::io::Write;
use std::time::Duration;

use weir_error::chain;
use weir_service::Context;

use super::lines::Lines;
use super::{Flags, Job};
use crate::{Config, Error, Server};

/// How long tasks may take to end behind the server.
const DEADLINE: Duration = Duration::from_secs(10);

/// Serves until the context's shutdown is requested, or says why it cannot. `words` are those behind the program's name; lines
/// of the original's form go to `out`, all others to the program's own log. Returns the exit code.
pub async fn run(words: &[String], context: Context, out: &mut (dyn Write + Send)) -> u8 {
    let mut lines = Lines {
        out,
        format: Flags::time_format(words),
        clock: context.clock.clone(),
    };
    // In a box: it holds the whole server, and is a part of whatever waits for it.
    match Box::pin(serve(words, &context, &mut lines)).await {
        Ok(()) => {
            lines.info("exited", &[]);
            0
        }
        Err((message, reason)) => {
            lines.error(message, &reason);
            1
        }
    }
}

/// What the original calls a failure, and what happened.
type Failure = (&'static str, String);

async fn serve(words: &[String], context: &Context, lines: &mut Lines<'_>) -> Result<(), Failure> {
    let flags = Flags::parse(words).map_err(|error| ("failed-check-flags", error.to_string()))?;
    let unusable = |reason: String| ("failed-load-config", reason);
    let text = tokio::fs::read_to_string(&flags.config).await;
    let text = text.map_err(|error| unusable(error.to_string()))?;
    let mut job = Job::read(&text, &flags).map_err(|error| unusable(chain(&error)))?;
    for (key, reason) in &job.passed_over {
        tracing::warn!(key, reason, "key of the job file has no effect");
    }
    let issuer = job.find_issuer().await;
    let issuer = issuer.map_err(|error| ("Failed to get issuer configuration from UAA", error.to_string()))?;
    if let Some(issuer) = issuer {
        lines.info("received-issuer", &[("issuer", issuer.into())]);
        let key = job.check_key().await;
        key.map_err(|error| ("Failed to get verification key from UAA", error.to_string()))?;
    }
    let port = job.shown_port;
    let config = Config::try_from(job.config).map_err(|problems| unusable(problems.to_string()))?;
    let failed = |error: Error| {
        let name = match error {
            Error::Database(_) => "failed-initialize-sql-connection",
            Error::Tls(_) => "mtls-mis-configured",
            _ => "failed-to-start",
        };
        (name, chain(&error))
    };
    let mut server = Server::bind(config, context.clone()).await.map_err(failed)?;
    if server.wait_for_turn().await.map_err(failed)? {
        lines.info("started", &[("port", port.into())]);
    }
    server.run().await.map_err(failed)?;
    let finished = context.finish(DEADLINE).await;
    finished.map_err(|error| ("shutdown-error", error.to_string()))
}
