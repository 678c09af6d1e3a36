//! The programs of the original by their own command lines (`weir routing-api -config routing-api.yml -ip 10.0.0.1`), so that an
//! operator swaps one program in a running deployment and keeps its job.
//!
//! Such a command line is known by a flag with one dash, which no component of this program has.

use std::convert::Infallible;
use std::io::{self, Write};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use weir_flow::LogContext;
use weir_service::{Context, Shutdown, Signals, Trigger, wait_for_signals};

use crate::failure::Failure;
use crate::stack::observe;
use crate::terminal::Output;

/// A program of the original that a component takes the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    /// `gorouter`
    Gorouter,
    /// `nats-server`
    Nats,
    /// `routing-api`
    RoutingApi,
}

/// A command line of the original.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Job {
    program: Program,
    /// The words behind the program's name.
    words: Vec<String>,
}

impl Program {
    const ALL: [Self; 3] = [Self::Gorouter, Self::Nats, Self::RoutingApi];

    /// The name of the component.
    const fn name(self) -> &'static str {
        match self {
            Self::Gorouter => "gorouter",
            Self::Nats => "nats",
            Self::RoutingApi => "routing-api",
        }
    }
}

impl Job {
    /// The job of a command line behind this program's own name; `None` if it is one of ours.
    pub(crate) fn of(words: impl IntoIterator<Item = String>) -> Option<Self> {
        let mut words = words.into_iter();
        let name = words.next()?;
        let program = Program::ALL.into_iter().find(|program| program.name() == name)?;
        let words: Vec<String> = words.collect();
        let is_of_go = |word: &String| word.starts_with('-') && !word.starts_with("--") && word != "-h";
        words.iter().any(is_of_go).then_some(Self { program, words })
    }
}

/// Serves until a signal asks to stop.
pub(crate) async fn run(job: Job) -> Result<ExitCode, Failure> {
    let name = job.program.name();
    let _telemetry = observe::install(name, "info", None, weir_telemetry::Format::Json, None)?;
    let mut lines = Lines(Output::stdout());
    let code = match job.program {
        Program::Gorouter => gorouter(&job.words, &mut lines).await?,
        Program::Nats => Box::pin(weir_platform_nats::job::run(&job.words, context(name), &mut lines)).await,
        Program::RoutingApi => {
            Box::pin(weir_platform_routing_api::job::run(
                &job.words,
                context(name),
                &mut lines,
            ))
            .await
        }
    };
    Ok(code.into())
}

/// The context of a program that stops in order at SIGINT and SIGTERM.
fn context(name: &'static str) -> Context {
    let (trigger, context) = Context::new(name);
    context.tasks.spawn("signals", async move {
        drop(wait_for_signals().await);
        trigger.fire();
    });
    context
}

/// Runs the gorouter: SIGUSR1 drains it, SIGINT and SIGTERM end it at once.
async fn gorouter(words: &[String], lines: &mut Lines) -> Result<u8, Failure> {
    let (stop, context) = LogContext::in_memory(Program::Gorouter.name());
    let (end, at_once) = Shutdown::new();
    // The signals are not a task of the context, because it waits for its tasks: a router that drains must still hear the
    // signal that ends it.
    tokio::select! {
        code = Box::pin(weir_platform_gorouter_proxy::job::run(words, context, at_once, lines)) => Ok(code),
        failed = obey(stop, end) => match failed {
            Ok(never) => match never {},
            Err(error) => Err(Failure::io("signals cannot be received", &error)),
        },
    }
}

/// Fires `stop` when the router has to drain, and `end` before it when it has to end at once.
async fn obey(stop: Trigger, end: Trigger) -> io::Result<Infallible> {
    let mut drain = signal(SignalKind::user_defined1())?;
    let mut signals = Signals::new()?;
    loop {
        tokio::select! {
            _ = signals.next() => end.fire(),
            _ = drain.recv() => {}
        }
        stop.fire();
    }
}

/// Standard output, for a program's own lines.
struct Lines(Output);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.text(bytes);
        written.map_err(|failure| io::Error::other(failure.message().to_owned()))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.0.flush();
        flushed.map_err(|failure| io::Error::other(failure.message().to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(line: &str) -> Option<Program> {
        Job::of(line.split(' ').map(str::to_owned)).map(|job| job.program)
    }

    /// A flag with one dash makes a command line one of the original; all others are ours.
    #[test]
    fn command_lines_of_the_original_are_known() {
        assert_eq!(job("routing-api -config a.yml -ip 1.2.3.4"), Some(Program::RoutingApi));
        assert_eq!(job("routing-api --ip=1.2.3.4 -config=a.yml"), Some(Program::RoutingApi));
        assert_eq!(job("nats -c nats.conf"), Some(Program::Nats));
        assert_eq!(job("gorouter -c gorouter.yml"), Some(Program::Gorouter));
        for ours in [
            "routing-api --config a.toml",
            "routing-api -h",
            "routing-api",
            "doppler -config a.yml",
            "",
        ] {
            assert_eq!(job(ours), None, "{ours}");
        }
    }
}
