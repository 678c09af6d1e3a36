//! The commands, each in its own file with its arguments and examples.

mod accounts;
pub(crate) mod completions;
pub(crate) mod component;
pub(crate) mod doctor;
pub(crate) mod drain;
pub(crate) mod emit;
pub(crate) mod endpoints;
pub(crate) mod group;
pub(crate) mod job;
pub(crate) mod login;
pub(crate) mod oauth_client;
pub(crate) mod recent;
pub(crate) mod route;
pub(crate) mod run;
pub(crate) mod sql;
pub(crate) mod tail;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod up;
pub(crate) mod user;

use std::process::ExitCode;

use crate::cli::{Cli, Command};
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::{reader_left, show_raw};
use component::Chosen;

/// The options for the logs of commands that serve.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// What is said: error, warn, info, debug, trace; or `info,weir_doppler_server=debug`
    #[arg(long = "log-level", value_name = "LEVEL", env = "WEIR_LOG", default_value = "info")]
    pub(crate) level: String,

    /// How it is written to standard error
    #[arg(long = "log-format", value_enum, value_name = "FORMAT", default_value = "human")]
    format: LogFormat,
}

/// The format of logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum LogFormat {
    /// A line for people
    Human,
    /// One JSON object per line
    Json,
}

impl LogArgs {
    pub(crate) fn format(&self) -> weir_telemetry::Format {
        match self.format {
            LogFormat::Human => weir_telemetry::Format::Human,
            LogFormat::Json => weir_telemetry::Format::Json,
        }
    }
}

/// Runs the command of a command line.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, Failure> {
    if cli.raw {
        show_raw();
    }
    let state = StateDir::at(&cli.state_dir)?;
    match cli.command {
        Command::Completions(args) => completions::run(&args),
        Command::Endpoints(args) => endpoints::run(&args, &state),
        Command::Logout(args) => on_runtime(login::log_out(args, state)),
        Command::Token(args) => on_runtime(token::run(args, state)),
        Command::Login(args) => on_runtime(login::run(args, state)),
        Command::User(args) => on_runtime(user::run(args, state)),
        Command::Group(args) => on_runtime(group::run(args, state)),
        Command::Client(args) => on_runtime(oauth_client::run(args, state)),
        Command::Up(args) => on_runtime(up::run(args, state)),
        Command::Run(args) => on_runtime(run::run(args, state)),
        Command::Emit(args) => on_runtime(emit::run(args, state)),
        Command::Tail(args) => on_runtime(while_read(tail::run(args, state))),
        Command::Recent(args) => on_runtime(while_read(recent::run(args, state))),
        Command::Sql(args) => on_runtime(while_read(sql::run(args, state))),
        Command::Top(args) => on_runtime(while_read(top::run(args, state))),
        Command::Drain(args) => on_runtime(drain::run(args, state)),
        Command::Route(args) => on_runtime(route::run(args, state)),
        Command::Doctor(args) => on_runtime(doctor::run(args, state)),
        Command::Component(Chosen { component, args }) => on_few_threads(component::run(component, args)),
    }
}

/// Runs a program of the original.
pub(crate) fn run_job(job: job::Job) -> Result<ExitCode, Failure> {
    on_few_threads(job::run(job))
}

/// Runs a command whose only effect is its output. It ends quietly when the reader of the output goes away (`weir tail web |
/// head -1`).
async fn while_read(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    tokio::select! {
        result = command => result,
        () = reader_left() => Ok(ExitCode::SUCCESS),
    }
}

/// Runs an asynchronous command on as many threads as there are cores.
fn on_runtime(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    on(&mut tokio::runtime::Builder::new_multi_thread(), command)
}

/// Runs a component in its own process on half as many threads as there are cores: the other components use the machine too, and a
/// batch that stays on one thread costs a third less than one that wakes another thread. `TOKIO_WORKER_THREADS` overrides the
/// number.
fn on_few_threads(command: impl Future<Output = Result<ExitCode, Failure>>) -> Result<ExitCode, Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if std::env::var_os("TOKIO_WORKER_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        runtime.worker_threads(cores.div_ceil(2));
    }
    on(&mut runtime, command)
}

fn on(
    runtime: &mut tokio::runtime::Builder,
    command: impl Future<Output = Result<ExitCode, Failure>>,
) -> Result<ExitCode, Failure> {
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|error| Failure::io("threads cannot be started", &error))?;
    let result = runtime.block_on(command);
    // A thread that is blocked, such as in a read from a terminal, must not delay the exit.
    runtime.shutdown_background();
    result
}
