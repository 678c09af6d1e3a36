//! `weir route list`: all routes of the registrar.

use std::process::ExitCode;

use weir_error::ErrorKind;
use weir_platform_route_registrar::status::{RouteState, RouteStatus};

use super::status::status;
use crate::client::Stack;
use crate::commands::accounts;
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::{Output, note};

const EXAMPLES: &str = "\
Examples:
  weir route list                           those of the stack itself, too
  weir route list --json | jq '.[] | select(.state != \"registered\")'

STATE: starting; registered; unhealthy (its program is not, so it is unregistered); failed (the
registration could not be sent, and is tried again).";

/// Show all routes, and what has become of them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// As JSON, with everything else that is known
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: Args, state: &StateDir) -> Result<ExitCode, Failure> {
    let stack = Stack::find(state)?;
    let mut status = status(&stack).await?;
    status
        .routes
        .sort_by(|one, other| (&one.name, &one.target).cmp(&(&other.name, &other.target)));
    if args.json {
        let text = serde_json::to_string_pretty(&status.routes)
            .map_err(|error| Failure::new(ErrorKind::Internal, format!("routes: {error}")))?;
        let mut output = Output::stdout();
        output.text(format!("{text}\n").as_bytes())?;
        output.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<[String; 5]> = status.routes.iter().map(row).collect();
    accounts::show(["ROUTE", "TARGET", "STATE", "CHECK", "WHY"], &rows)?;
    for file in status.files.iter().filter(|file| !file.problems.is_empty()) {
        note(&format!("warning: `{}`: {}", file.path, file.problems.join("; ")));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(route: &RouteStatus) -> [String; 5] {
    let external = match route.external_port {
        Some(port) => format!("{} (TCP port {port})", route.name),
        None => route.uris.join(" "),
    };
    let scheme = if route.tls { "tls:" } else { "" };
    let why = match route.state {
        RouteState::Registered => "",
        _ => route.error.as_deref().unwrap_or_default(),
    };
    [
        external,
        format!("{scheme}{}", route.target),
        route.state.as_str().to_owned(),
        route.health_check.clone().unwrap_or_default(),
        why.to_owned(),
    ]
}
