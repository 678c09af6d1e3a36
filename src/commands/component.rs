//! `weir <component> --config FILE`: runs one component in its own process.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgMatches, Args as _, Command, FromArgMatches, Subcommand, error};
use tokio::io::AsyncReadExt as _;
use weir_component::Component as _;
use weir_error::ErrorKind;
use weir_net::Target;
use weir_service::{Signals, clock};
use weir_tls::{ClientTls, IdentityFiles};

use super::LogArgs;
use crate::components::{Entry, Table, table};
use crate::failure::Failure;
use crate::stack::config;
use crate::stack::hosted::Bound;
use crate::stack::observe::{self, Observation};
use crate::terminal::Output;

const EXAMPLES: &str = "\
Examples:
  weir doppler --config doppler.toml        run until SIGTERM or Ctrl-C, which drains first
  weir doppler --example > doppler.toml     begin a configuration: every key with its text and default
  weir doppler --config doppler.toml --check
                                            validate, print what would be in force, end
  weir doppler --config doppler.toml --set queue.envelopes=100000
  DOPPLER__QUEUE__ENVELOPES=100000 weir doppler --config doppler.toml

`weir up` writes such a file for each component of its stack: see .weir/config/.";

/// The time within which a second signal counts as the first: a terminal and a supervisor may both pass on one Ctrl-C.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// The arguments of a component.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The TOML file; without it, defaults and environment count
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Validate the configuration, print it as it would be in force, and end
    #[arg(long)]
    check: bool,

    /// Print a configuration with every key, what it means, what is allowed and its default, and end
    #[arg(long, conflicts_with = "check")]
    example: bool,

    /// Set one value, stronger than environment and file; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,

    /// Keep the ledger (received, sent, dropped) in this directory, so that it survives a kill
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,

    #[command(flatten)]
    telemetry: Telemetry,

    /// Stop in order when standard input ends: the supervisor is gone
    #[arg(long, hide = true)]
    supervised: bool,
}

/// A component as a subcommand, with its arguments.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) component: Entry,
    pub(crate) args: Args,
}

/// Adds a subcommand for each component of `table`.
pub(crate) fn subcommands(command: Command, table: &Table) -> Command {
    table.descriptions().fold(command, |command, component| {
        let arguments = Args::augment_args(Command::new(component.name));
        command.subcommand(arguments.about(component.help).long_about(None))
    })
}

impl Subcommand for Chosen {
    fn augment_subcommands(command: Command) -> Command {
        subcommands(command, table())
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        subcommands(command, table())
    }

    fn has_subcommand(name: &str) -> bool {
        table().has(name)
    }
}

impl FromArgMatches for Chosen {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let found = matches.subcommand();
        let chosen = found.and_then(|(name, matches)| Some((*table().find(name)?, matches)));
        let (component, matches) = chosen.ok_or_else(|| clap::Error::new(error::ErrorKind::InvalidSubcommand))?;
        Ok(Self {
            component,
            args: Args::from_arg_matches(matches)?,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The destination of the component's own logs, metrics and losses.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Telemetry")]
struct Telemetry {
    #[command(flatten)]
    log: LogArgs,

    /// The file that standard error is appended to: it is kept within 16 MiB, with as much of before in FILE.1
    #[arg(long, value_name = "FILE", hide = true)]
    log_file: Option<PathBuf>,

    /// Ship the component's own logs, metrics and losses to the agent at this address
    #[arg(long = "telemetry-agent", value_name = "HOST:PORT")]
    agent: Option<String>,

    /// PEM file of the CA that the agent's certificate comes from
    #[arg(long = "telemetry-ca", value_name = "FILE", requires = "agent")]
    ca: Option<PathBuf>,

    /// PEM file of the certificate to show the agent
    #[arg(long = "telemetry-cert", value_name = "FILE", requires = "agent")]
    cert: Option<PathBuf>,

    /// PEM file of its key
    #[arg(long = "telemetry-key", value_name = "FILE", requires = "agent")]
    key: Option<PathBuf>,
}

impl Telemetry {
    /// Returns the agent to which telemetry is shipped, if one is given.
    fn target(&self) -> Result<Option<Target>, Failure> {
        let Some(address) = &self.agent else { return Ok(None) };
        let (Some(ca), Some(cert), Some(key)) = (&self.ca, &self.cert, &self.key) else {
            return Err(
                Failure::new(ErrorKind::InvalidInput, "`--telemetry-agent`: needs an identity")
                    .with_hint("give --telemetry-ca, --telemetry-cert and --telemetry-key as well"),
            );
        };
        let tls = ClientTls::mutual(&IdentityFiles {
            ca: ca.clone(),
            cert: cert.clone(),
            key: key.clone(),
        })?;
        let server_name = weir_agents_forwarder::Server::DESCRIPTION.server_name().to_owned();
        Ok(Some(Target {
            address: address.clone(),
            server_name,
            tls,
        }))
    }
}

pub(crate) async fn run(component: Entry, args: Args) -> Result<ExitCode, Failure> {
    if args.example {
        let mut output = Output::stdout();
        output.text(component.example()?.as_bytes())?;
        output.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let loaded = config::load(&component, args.config.as_deref(), &args.set)?;
    if args.check {
        let mut output = Output::stdout();
        output.text(format!("{}\n", loaded.effective.trim_end()).as_bytes())?;
        output.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let target = args.telemetry.target()?;
    let telemetry = observe::install(
        component.name(),
        &args.telemetry.log.level,
        None,
        args.telemetry.log.format(),
        args.telemetry.log_file.clone(),
    )?;
    let mut signals = Signals::new().map_err(|error| Failure::io("signals cannot be handled", &error))?;
    let mut hosted = Bound::bind(component.name(), loaded, args.ledger.as_deref())
        .await?
        .start();
    tracing::info!(component = component.name(), "component serves");
    let observation = target.map(|target| Observation::start(telemetry, &target, vec![hosted.ledger()]));
    let mut failure = None;
    tokio::select! {
        ended = hosted.ended() => failure = Some(ended),
        signal = signals.next() => tracing::info!(%signal, "component stops"),
        () = supervisor_gone(), if args.supervised => tracing::warn!("the supervisor is gone, component stops"),
    }
    let stop = async {
        // The telemetry goes out first, because the component may itself be the agent that takes it.
        if let Some(observation) = observation {
            observation.finish().await;
        }
        hosted.stop().await
    };
    let stopped = tokio::select! {
        stopped = stop => stopped,
        failure = second_signal(&mut signals) => Err(failure),
    };
    // The reason for the end tells more than a failure of the stop that follows from it.
    failure.map_or(stopped, Err).map(|()| ExitCode::SUCCESS)
}

/// Waits for a second signal, which demands a stop at once. Returns the failure for it.
pub(crate) async fn second_signal(signals: &mut Signals) -> Failure {
    let first = clock::instant();
    loop {
        let signal = signals.next().await;
        if clock::instant().duration_since(first) > SAME_SIGNAL {
            let text = format!("{signal} came again: stopped at once, losses are not all counted");
            return Failure::new(ErrorKind::Unavailable, text);
        }
    }
}

/// Waits for the end of standard input, which a supervisor keeps open as long as it runs.
async fn supervisor_gone() {
    let mut stdin = tokio::io::stdin();
    let mut buffer = [0; 64];
    while stdin.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
}

/// Parses `KEY=VALUE`.
fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE, such as listen=127.0.0.1:8082".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value may contain further equals signs, and a key must not be empty.
    #[test]
    fn assignments_are_split_at_the_first_sign() {
        assert_eq!(assignment("a.b=c=d"), Ok(("a.b".to_owned(), "c=d".to_owned())));
        assert!(assignment("a").is_err());
        assert!(assignment("=a").is_err());
    }
}
