//! The server as the original's program: flags and file in, its lines out, an exit code at the end.

use std::io::Write;
use std::time::Duration;

use chrono::DateTime;
use weir_error::chain;
use weir_service::{Clock, Context};

use super::Job;
use crate::{Config, Server};

/// How long tasks may take to end behind the server.
const DEADLINE: Duration = Duration::from_secs(10);

/// Serves until the context's shutdown is requested, or says why it cannot. `words` are those behind the program's name; lines
/// of the original's form go to `out`, all others to the program's own log. Returns the exit code.
pub async fn run(words: &[String], context: Context, out: &mut (dyn Write + Send)) -> u8 {
    let mut lines = Lines {
        out,
        clock: context.clock.clone(),
    };
    match Box::pin(serve(words, &context, &mut lines)).await {
        Ok(()) => {
            lines.write("INF", "Server Exiting..");
            0
        }
        Err(reason) => {
            lines.write("FTL", &reason);
            1
        }
    }
}

async fn serve(words: &[String], context: &Context, lines: &mut Lines<'_>) -> Result<(), String> {
    let job = Job::read(words).map_err(|error| chain(&error))?;
    for (key, reason) in &job.passed_over {
        tracing::warn!(key, reason, "setting of nats-server has no effect");
    }
    let config = Config::try_from(job.config).map_err(|problems| problems.to_string())?;
    lines.write("INF", "Starting nats-server");
    let server = Server::bind(config, context.clone()).await;
    let server = server.map_err(|error| chain(&error))?;
    let address = server.local_addr();
    lines.write("INF", &format!("Listening for client connections on {address}"));
    lines.write("INF", "Server is ready");
    server.run().await.map_err(|error| chain(&error))?;
    context.finish(DEADLINE).await.map_err(|error| error.to_string())
}

/// Writes lines as `[7] 2026/01/03 10:11:12.345678 [INF] Server is ready`.
struct Lines<'o> {
    out: &'o mut (dyn Write + Send),
    clock: Clock,
}

impl Lines<'_> {
    fn write(&mut self, level: &str, text: &str) {
        let time = DateTime::from_timestamp_nanos(self.clock.now_nanos()).format("%Y/%m/%d %H:%M:%S%.6f");
        let process = std::process::id();
        // Nobody may read them any more.
        writeln!(self.out, "[{process}] {time} [{level}] {text}").ok();
        self.out.flush().ok();
    }
}
