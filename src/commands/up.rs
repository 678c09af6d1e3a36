//! `weir up`: runs a whole stack on this machine.
//!
//! The start locks the state directory, prepares files that are missing, starts all components, waits until an envelope passes
//! through the stack, and writes `endpoints.json`. Then a status line is shown every second. The stop removes `endpoints.json` and
//! stops the components in the order in which an envelope passes them.

mod texts;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use weir_component::Component as _;
use weir_error::ErrorKind;
use weir_service::{Signals, clock};

use super::LogArgs;
use super::component::second_signal;
use crate::components::{Table, table};
use crate::failure::Failure;
use crate::stack::observe::{self, Observation};
use crate::stack::{Counts, Event, Plan, PortChoice, Ports, Stack, StatusLine};
use crate::state::{Endpoints, Lock, StateDir};
use crate::terminal::Foreground;

const EXAMPLES: &str = "\
Examples:
  weir up                                   in .weir, on the usual ports; Ctrl-C stops it in order
  weir --state-dir /tmp/two up --ports auto a second stack beside it
  weir up --processes                       each component a process of its own; what dies is started again
  weir up --only uaa                        one component and what it needs

It needs no configuration. .weir/config/*.toml show what is in force; change a value by an environment variable such as
DOPPLER__QUEUE__ENVELOPES=100000. Scripts read .weir/endpoints.json, which exists while the stack serves.";

/// The time between two status lines without a terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);
/// The time between two status lines on a terminal.
const INTERVAL: Duration = Duration::from_secs(1);
/// The level of logs that are shown beside the status line.
const STDERR_LEVEL: &str = "warn";
/// The number of attempts with automatic ports, which another program may take between choice and start.
const TRIES: usize = 5;
/// The open files that a stack may need, which are mostly sockets of consumers.
const OPEN_FILES: u64 = 1 << 20;

/// Start a whole stack on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which ports to listen on
    #[arg(long, value_enum, default_value = "default")]
    ports: PortChoice,

    /// Run each component as a process of its own, and restart it when it dies
    #[arg(long)]
    processes: bool,

    /// Run only these components, and what they need; a group (`logs`, `access`) stands for all of its components
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    only: Vec<String>,

    /// The ports of the router without and with TLS, instead of those of --ports: 80,443 for those who may take these
    #[arg(long, value_name = "HTTP,HTTPS", value_parser = router_ports)]
    router_ports: Option<(u16, u16)>,

    /// The domain below which the stack's public interfaces and routes have their names. Names below `localhost` need no DNS
    #[arg(long, value_name = "DOMAIN", default_value = "weir.localhost", value_parser = domain)]
    domain: String,

    #[command(flatten)]
    log: LogArgs,
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    let started = clock::instant();
    // First of all: a signal during the start must stop what was started.
    let mut signals = Signals::new().map_err(|error| Failure::io("signals cannot be handled", &error))?;
    state.create()?;
    let _lock = Lock::acquire(&state).await?;
    // The file of a killed stack has addresses that are not valid any more.
    Endpoints::remove(&state)?;
    // Standard error shows warnings. All logs are in the stream of the stack.
    let telemetry = observe::install("weir", &args.log.level, Some(STDERR_LEVEL), args.log.format(), None)?;
    raise_file_limit();
    // UAA creates this file at its first start, so this must be read before.
    let is_first = !state.admin_password().exists();

    let mut screen = Foreground::new();
    let components = match &args.only[..] {
        [] => table().clone(),
        only => table().only(only)?,
    };
    let (mut stack, plan) = tokio::select! {
        started = start(&args, &components, &state) => started?,
        signal = signals.next() => return Err(Failure::new(ErrorKind::Unavailable, format!("{signal} came before the stack was up"))),
    };
    // Without an agent, logs are on standard error only.
    let agent = plan.agent()?;
    let observation = agent.map(|agent| Observation::start(telemetry, &agent, stack.ledgers()));
    plan.endpoints(stack.pids()).write(&state)?;
    tracing::info!(processes = args.processes, "the stack serves");
    screen.print(&texts::welcome(
        &plan,
        args.processes,
        clock::instant().duration_since(started),
    ));
    if is_first && components.has(weir_platform_uaa_server::Server::DESCRIPTION.name) {
        screen.print(&texts::administrator(&plan.endpoints([])));
    }

    let before = stack.counts();
    let failure = serve(&mut stack, &plan, &before, &mut screen, &mut signals).await;

    // Before the components stop: no script should find a stack that does not serve.
    Endpoints::remove(&state)?;
    screen.print("stopping: what is on its way is delivered first (Ctrl-C again stops at once)");
    let stop = async {
        // The telemetry goes out while the agent still runs.
        if let Some(observation) = observation {
            observation.finish().await;
        }
        let say = |component: &str, took: Duration| {
            screen.print(&format!("  {component} stopped after {} ms", took.as_millis()))
        };
        stack.stop(say).await
    };
    let (failures, counts) = tokio::select! {
        stopped = stop => stopped,
        failure = second_signal(&mut signals) => return Err(failure),
    };
    screen.print(&texts::final_counts(&counts.since(&before)));
    for failure in &failures {
        screen.print(&format!("warning: {}", failure.message()));
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// Prepares and starts a stack. Chooses other automatic ports if another program takes one in between.
async fn start(args: &Args, components: &Table, state: &StateDir) -> Result<(Stack, Plan), Failure> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        let ports = Ports::choose(args.ports, &wanted_ports(args), table(), components, state)?;
        let plan = Plan::prepare(state, components, ports, &args.domain)?;
        match Stack::start(&plan, args.processes).await {
            Ok(stack) => {
                // Only now, when these ports have been bound.
                plan.ports.remember(state)?;
                return Ok((stack, plan));
            }
            // With other ports again only if one of these is taken: any other failure would come back.
            Err(_) if args.ports == PortChoice::Auto && tries > 0 && !plan.ports.taken(components).is_empty() => {}
            Err(failure) => return Err(failure),
        }
    }
}

/// Shows the status until a signal arrives or the stack fails. Returns the failure.
async fn serve(
    stack: &mut Stack,
    plan: &Plan,
    before: &Counts,
    screen: &mut Foreground,
    signals: &mut Signals,
) -> Option<Failure> {
    let mut last = before.clone();
    let mut last_at = clock::instant();
    let mut ticks = tokio::time::interval(if screen.is_terminal() { INTERVAL } else { PLAIN_INTERVAL });
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    // The first tick is due at once, before there is anything to count.
    ticks.tick().await;
    loop {
        tokio::select! {
            _ = signals.next() => return None,
            event = stack.next() => {
                let changed = match event {
                    Event::Note(text) => {
                        tracing::warn!(note = text, "a component is in trouble");
                        screen.print(&text);
                        false
                    }
                    Event::Started { component, pid, again } => {
                        if again {
                            tracing::info!(name = component, pid, "component runs again");
                            screen.print(&format!("{component} runs again as process {pid}"));
                        }
                        true
                    }
                    Event::Died { component, how, again_in, .. } => {
                        tracing::error!(name = component, how, "component died");
                        screen.print(&format!("{component} {how}; started again in {} ms", again_in.as_millis()));
                        false
                    }
                    Event::Fatal(failure) => return Some(failure),
                };
                // A stack that serves goes on, even if the new pid cannot be written.
                if changed && let Err(failure) = plan.endpoints(stack.pids()).write(&plan.state) {
                    screen.print(&failure.to_string());
                }
            }
            _ = ticks.tick() => {
                let (now, at) = (stack.counts(), clock::instant());
                let line = StatusLine { total: now.since(before), last: now.since(&last), elapsed: at.duration_since(last_at) };
                screen.status(&line.to_string());
                (last, last_at) = (now, at);
            }
        }
    }
}

/// The ports that the user wants, by their keys.
fn wanted_ports(args: &Args) -> BTreeMap<String, u16> {
    let router = args.router_ports.into_iter();
    let named = router.flat_map(|(http, https)| [("router_http", http), ("router_https", https)]);
    named.map(|(key, port)| (key.to_owned(), port)).collect()
}

/// Two ports with a comma between them.
fn router_ports(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.trim().parse().ok().filter(|port| *port > 0);
    let ports = text
        .split_once(',')
        .and_then(|(http, https)| Some((port(http)?, port(https)?)));
    ports.ok_or_else(|| "expected two ports, such as 80,443".to_owned())
}

/// A domain as names in certificates and routes have it.
fn domain(text: &str) -> Result<String, String> {
    let domain = text.to_ascii_lowercase();
    let is_label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        plain && !label.is_empty() && label.len() < 64 && !label.starts_with('-') && !label.ends_with('-')
    };
    match domain.len() < 200 && domain.split('.').all(is_label) {
        true => Ok(domain),
        false => Err("expected a domain, such as weir.localhost".to_owned()),
    }
}

/// Raises the limit of open files as far as the system allows, because every consumer needs one.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(OPEN_FILES, |hard| hard.min(OPEN_FILES));
    if limit.current.is_some_and(|soft| soft < wanted) {
        let raised = Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ports of the router are given together.
    #[test]
    fn router_ports_are_two() {
        assert_eq!(router_ports("80, 443"), Ok((80, 443)));
        for wrong in ["", "80", "80,", "80,0", "80,443,1", "a,b"] {
            assert!(router_ports(wrong).is_err(), "{wrong}");
        }
    }

    /// A domain is a name in certificates and URLs, in lower case.
    #[test]
    fn a_domain_is_checked() {
        assert_eq!(domain("Weir.localhost").as_deref(), Ok("weir.localhost"));
        for wrong in ["", ".", "a..b", "*.a", "-a.b", "a_b", "a b", "https://a"] {
            assert!(domain(wrong).is_err(), "{wrong}");
        }
    }
}
