//! `weir route add`: a name or a port of the router for a program.

use std::process::ExitCode;
use std::time::Duration;

use tokio::net::TcpStream;
use weir_error::ErrorKind;
use weir_platform_route_registrar::route::RawRoute;
use weir_platform_route_registrar::status::{RouteState, RouteStatus, Status};
use weir_service::clock;

use super::status::{router_group, status};
use super::store::Store;
use super::target::{self, ROUTER_GROUP};
use crate::client::Stack;
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::Output;

const EXAMPLES: &str = "\
Examples:
  weir route add hello 127.0.0.1:8123       as hello below the stack's domain
  weir route add api.example.com 10.0.0.7:8080
  weir route add hello/v2 127.0.0.1:8124 --health /health
  weir route add db 127.0.0.1:5432 --tcp 1024

It returns when the router has the route. Then it asks once for `/`, or for the path of --health, through
the router, and says what the answer was; --no-probe leaves that out. Several programs may have one name:
requests are spread over them. A route stays until it is removed, also after a restart of the stack.";

/// How long applying a route may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(50);
/// How the registrar begins to say that the routing API does not want a route, which trying again does not change.
const REFUSED: &str = "routing API refuses";

/// Add a route; returns when it is in force
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The name: a label below the stack's domain, or a whole name; a path may follow. Its requests are told in the stream of
    /// this name
    name: String,

    /// The program: HOST:PORT, as the router reaches it
    #[arg(value_name = "HOST:PORT")]
    target: String,

    /// Register the route only while GET PATH is answered with a status from 200 to 299
    #[arg(long, value_name = "PATH")]
    health: Option<String>,

    /// A port of the TCP router instead of a name of the HTTP router
    #[arg(long, value_name = "PORT", conflicts_with = "health")]
    tcp: Option<u16>,

    /// Do not ask the program through the router
    #[arg(long)]
    no_probe: bool,
}

pub(super) async fn run(args: Args, state: &StateDir) -> Result<ExitCode, Failure> {
    let stack = Stack::find(state)?;
    let domain = &stack.endpoints.domain;
    let route = target::route(&args.name, domain, &args.target, args.health.as_deref(), args.tcp)?;
    // Before anything is written: a stack without a registrar would never apply it.
    status(&stack).await?;
    if let Some(port) = args.tcp {
        check_port(&stack, port).await?;
    }
    let added = remember(state, &route)?;
    let row = applied(&stack, &route).await;
    if let Err(failure) = &row
        && failure.kind() == ErrorKind::Forbidden
        && added
    {
        forget(state, &route)?;
    }
    let row = row?;
    let mut output = Output::stdout();
    let word = if added { "added" } else { "was there already" };
    output.line(&format!("route {} {word}: to {}", label(&route), row.target))?;
    if row.state != RouteState::Registered {
        let why = row.error.as_deref().unwrap_or("it is not registered yet");
        output.line(&format!(
            "  not registered yet: {why}; it is tried again every 5 s (`weir route list`)"
        ))?;
    } else if let Some(port) = args.tcp {
        output.line(&format!("  {}", connect(&stack, port).await?))?;
    } else if !args.no_probe {
        output.line(&format!("  {}", probe(&stack, &route).await))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether the TCP router may open a port: the routing API takes any, as the original does, and leaves that to its clients.
async fn check_port(stack: &Stack, port: u16) -> Result<(), Failure> {
    let group = router_group(stack, ROUTER_GROUP).await?;
    let ports = group.map(|group| group.reservable_ports).unwrap_or_default();
    let ranges = ports.ranges().unwrap_or_default();
    if ranges.iter().any(|range| range.contains(port)) {
        return Ok(());
    }
    let text = format!("port {port}: is none of the router group `{ROUTER_GROUP}`");
    Err(Failure::new(ErrorKind::InvalidInput, text).with_hint(format!("take one of {ports}")))
}

/// Waits until the TCP router takes connections on the port, and says where.
async fn connect(stack: &Stack, port: u16) -> Result<String, Failure> {
    let router = stack.endpoints.address("tcp_router")?;
    let host = router.rsplit("://").next().and_then(|address| address.rsplit_once(':'));
    let address = format!("{}:{port}", host.map_or("127.0.0.1", |(host, _)| host));
    let deadline = clock::instant() + DEADLINE;
    loop {
        match TcpStream::connect(&address).await {
            Ok(_) => return Ok(format!("{address} takes connections")),
            Err(error) if clock::instant() > deadline => {
                return Ok(format!("{address} takes no connections yet: {error}"));
            }
            // The registration is on its way.
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// The name of a route for people: its name, or the port of the TCP router.
fn label(route: &RawRoute) -> String {
    match route.external_port {
        None => route.name.clone(),
        Some(port) => format!("{} (TCP port {port})", route.name),
    }
}

/// Whether both are one route: the name, the program and the port of the TCP router.
fn is_same(one: &RawRoute, other: &RawRoute) -> bool {
    let key = |route: &RawRoute| (route.name.clone(), route.host.clone(), route.port, route.external_port);
    key(one) == key(other)
}

/// Puts the route into the file; says whether it was not there as it is now.
fn remember(state: &StateDir, route: &RawRoute) -> Result<bool, Failure> {
    let store = Store::take(state)?;
    let mut file = store.read()?;
    let known = file.routes.iter_mut().find(|other| is_same(other, route));
    match known {
        Some(known) if known == route => return Ok(false),
        // With another health check it is the same route.
        Some(known) => *known = route.clone(),
        None => file.routes.push(route.clone()),
    }
    store.write(&file)?;
    Ok(true)
}

fn forget(state: &StateDir, route: &RawRoute) -> Result<(), Failure> {
    let store = Store::take(state)?;
    let mut file = store.read()?;
    file.routes.retain(|other| other != route);
    store.write(&file)
}

/// Waits until the registrar has registered the route, or says why it has not.
async fn applied(stack: &Stack, route: &RawRoute) -> Result<RouteStatus, Failure> {
    let deadline = clock::instant() + DEADLINE;
    loop {
        let found = status(stack).await?;
        let row = row(&found, route, &stack.state);
        let late = clock::instant() > deadline;
        match row {
            Some(row) if row.error.as_deref().is_some_and(|error| error.starts_with(REFUSED)) => {
                let why = row.error.unwrap_or_default();
                return Err(
                    Failure::new(ErrorKind::Forbidden, format!("route `{}`: {why}", route.name))
                        .with_hint("the router group has a range of ports: take one of it, such as 1024"),
                );
            }
            Some(row) if late || matches!(row.state, RouteState::Registered | RouteState::Unhealthy) => return Ok(row),
            None if late => {
                let file = stack.state.routes().display().to_string();
                let problem = found.files.iter().find(|found| found.path == file);
                let why = problem.map_or_else(String::new, |found| format!(" ({})", found.problems.join("; ")));
                return Err(Failure::new(
                    ErrorKind::Timeout,
                    format!(
                        "route `{}`: the registrar has not applied it within 15 s{why}",
                        route.name
                    ),
                )
                .with_hint(
                    "it is kept, and will be applied: `weir route list` shows it, `weir doctor` looks what is wrong",
                ));
            }
            _ => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// The registrar's row of a route of the file, if it has applied the route as it is now.
fn row(status: &Status, route: &RawRoute, state: &StateDir) -> Option<RouteStatus> {
    let file = state.routes().display().to_string();
    let target = format!("{}:{}", route.host, route.port?);
    let path = route.health_check.as_ref().map(|check| check.path.as_str());
    let is_meant = |row: &&RouteStatus| {
        row.file.as_deref() == Some(&file)
            && row.name == route.name
            && row.target == target
            && row.external_port == route.external_port
            && row.health_check.is_some() == path.is_some()
            && row
                .health_check
                .as_deref()
                .unwrap_or_default()
                .ends_with(path.unwrap_or_default())
    };
    status.routes.iter().find(is_meant).cloned()
}

/// Asks the program through the router, and says what came.
async fn probe(stack: &Stack, route: &RawRoute) -> String {
    let uri = &route.name;
    let (host, own) = uri.find('/').map_or((uri.as_str(), "/"), |slash| uri.split_at(slash));
    let path = route.health_check.as_ref().map_or(own, |check| &check.path);
    // A wildcard stands for any label.
    let host = host.replacen('*', "any", 1);
    let deadline = clock::instant() + DEADLINE;
    loop {
        match stack.ask_by_name(&host, path).await {
            // The registration is on its way.
            Ok(answer) if answer.is_unknown() && clock::instant() < deadline => tokio::time::sleep(INTERVAL).await,
            Ok(answer) => return format!("https://{host}{path} answers {answer}"),
            Err(why) => return format!("https://{host}{path} does not answer yet: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::route::target::route;

    /// Adding twice is adding once; another health check replaces the first; another program is another route; one that is
    /// refused is forgotten.
    #[test]
    fn a_route_is_remembered_once() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        let named = |target: &str, health: Option<&str>| route("a", "b.c", target, health, None).expect("a route");
        let one = named("127.0.0.1:1", None);
        let add = |route: &RawRoute| remember(&state, route).expect("written");
        assert!(add(&one) && !add(&one) && add(&named("127.0.0.1:1", Some("/h"))));
        let other = named("127.0.0.1:2", None);
        assert!(add(&other));
        let read = || Store::take(&state).expect("taken").read().expect("read").routes;
        assert_eq!(read(), [named("127.0.0.1:1", Some("/h")), other.clone()]);
        forget(&state, &other).expect("written");
        assert_eq!(read().len(), 1);
    }
}
