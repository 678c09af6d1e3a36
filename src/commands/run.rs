//! `weir run -- CMD…`: runs a program and ships its output as log lines.
//!
//! ```text
//! program ─ stdout ─▶ pump ─▶ our stdout
//!         ─ stderr ─▶ pump ─▶ our stderr
//!                       └──▶ lines ─▶ Outbox (bounded) ─▶ agent
//! ```
//!
//! The program never waits for the pipeline: a full outbox drops lines, which are counted and reported at the end. As without
//! `weir run`, the program waits for the reader of standard output, and its pipe breaks if that reader goes away
//! (`weir run -- yes | head -1`). Its output is passed on byte for byte, also to a terminal.

mod child;
mod pump;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use weir_envelope::view::Stream;
use weir_service::Shutdown;

use crate::background::background;
use crate::client::{Line, Outbox, Stack, shipping::Shipping};
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::note;

use child::Child;
use pump::pump;

const EXAMPLES: &str = "\
Examples:
  weir run -- ls -l /                       its lines appear as source `ls`
  weir run --source-id nightly -- make all  under a name of your own
  weir run --quiet -- ./server --port 80    without printing them here as well
  weir run -- sh -c 'exit 3'; echo $?       3: the exit status is the program's (128+N for signal N)
  weir run -- make all | head -20           a reader who goes away ends the program, as without `weir run`

A line ends with \\n or \\r; empty lines are not sent; lines longer than 61,440 bytes are sent in pieces.";

/// How long output is awaited after the program has ended, while another process holds its pipes open.
const LINGER: Duration = Duration::from_secs(2);
/// How long the end of the command waits for a pipeline that acknowledges nothing.
const FLUSH: Duration = Duration::from_secs(10);

/// Run a program and ship what it prints as log lines
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Under which source its lines appear [default: the program's name]
    #[arg(long, value_name = "ID")]
    pub(crate) source_id: Option<String>,

    /// Which copy of the source this is
    #[arg(long, value_name = "ID", default_value = "0")]
    instance_id: String,

    /// The kind of source, as clients show it in brackets
    #[arg(long, value_name = "TYPE", default_value = "APP")]
    source_type: String,

    /// Do not print the program's output here as well
    #[arg(long, short)]
    quiet: bool,

    /// The program and its arguments
    #[arg(required = true, last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    let stack = Stack::find(&state)?;
    let source_id = args.source_id.clone().unwrap_or_else(|| program_name(&args.command[0]));
    let line = Line {
        source_id,
        instance_id: args.instance_id,
        source_type: args.source_type,
    };
    let outbox = Arc::new(Outbox::new(line));
    // The connection comes first: without a stack, the program must not run at all.
    let shipping = Shipping::start(&stack, Arc::clone(&outbox)).await?;

    let mut child = Child::spawn(&args.command)?;
    let (stdout, stderr) = child.take_output();
    let (trigger, stop) = Shutdown::new();
    let (through_out, through_err) = passed_on(args.quiet);
    let out = pump(stdout, through_out, Stream::Out, Arc::clone(&outbox), stop.clone());
    let err = pump(stderr, through_err, Stream::Err, Arc::clone(&outbox), stop);
    let mut pumps = background(futures::future::join(out, err));
    let code = child.wait().await?;
    // A daemon that the program started may hold the pipes open for ever.
    if tokio::time::timeout(LINGER, &mut pumps).await.is_err() {
        trigger.fire();
        drop(pumps.await);
    }

    let report = shipping.finish(FLUSH).await;
    if let Some(text) = report.losses() {
        note(&format!("weir: {text}"));
    }
    // Also if lines were lost: a script must see the exit status of the program.
    Ok(ExitCode::from(code))
}

/// Returns the outputs to which the program's output is passed on unchanged, beside the pipeline.
#[expect(clippy::disallowed_methods, reason = "the program's own bytes")]
fn passed_on(quiet: bool) -> (Option<tokio::io::Stdout>, Option<tokio::io::Stderr>) {
    ((!quiet).then(tokio::io::stdout), (!quiet).then(tokio::io::stderr))
}

/// Returns the file name of `argv[0]`.
fn program_name(command: &str) -> String {
    Path::new(command)
        .file_name()
        .map_or_else(|| command.to_owned(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The default source id is the file name of the program.
    #[test]
    fn the_source_is_the_programs_name() {
        assert_eq!(program_name("/usr/bin/ping"), "ping");
        assert_eq!(program_name("ping"), "ping");
        assert_eq!(program_name("./run.sh"), "run.sh");
    }
}
