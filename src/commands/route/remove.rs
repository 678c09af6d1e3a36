//! `weir route remove`: no more requests to a program.

use std::process::ExitCode;
use std::time::Duration;

use weir_error::ErrorKind;
use weir_platform_route_registrar::files::RouteFile;
use weir_platform_route_registrar::route::RawRoute;
use weir_service::clock;

use super::status::status;
use super::store::Store;
use super::target;
use crate::client::Stack;
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::Output;

const EXAMPLES: &str = "\
Examples:
  weir route remove hello
  weir route remove hello 127.0.0.1:8124    one of several programs of a name";

/// How long applying it may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(50);

/// Remove routes that were added by hand; returns when they are out of force
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which one, as it was added
    name: String,

    /// Only the route to this program
    #[arg(value_name = "HOST:PORT")]
    target: Option<String>,
}

pub(super) async fn run(args: Args, state: &StateDir) -> Result<ExitCode, Failure> {
    let stack = Stack::find(state)?;
    status(&stack).await?;
    let full = target::full_name(&args.name, &stack.endpoints.domain);
    let is_meant = |route: &RawRoute| {
        let target = format!("{}:{}", route.host, route.port.unwrap_or_default());
        let is_named = route.name == full || route.name == args.name || route.app_id == args.name;
        is_named && args.target.as_ref().is_none_or(|wanted| *wanted == target)
    };
    let removed: Vec<RawRoute> = {
        let store = Store::take(state)?;
        let RouteFile { routes } = store.read()?;
        let (removed, routes) = routes.into_iter().partition(is_meant);
        if Vec::is_empty(&removed) {
            return Err(Failure::new(
                ErrorKind::NotFound,
                format!("route `{}`: none was added under this name", args.name),
            )
            .with_hint("`weir route list` shows all; those of the stack itself cannot be removed"));
        }
        store.write(&RouteFile { routes })?;
        removed
    };
    gone(&stack, &removed).await?;
    let mut output = Output::stdout();
    for route in removed {
        let port = route.port.unwrap_or_default();
        output.line(&format!("route {} removed: to {}:{port}", route.name, route.host))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until the registrar keeps none of these routes any more.
async fn gone(stack: &Stack, removed: &[RawRoute]) -> Result<(), Failure> {
    let deadline = clock::instant() + DEADLINE;
    let file = stack.state.routes().display().to_string();
    loop {
        let found = status(stack).await?;
        let mut left = found.routes.iter().filter(|row| {
            let is_row = |route: &RawRoute| {
                let target = format!("{}:{}", route.host, route.port.unwrap_or_default());
                row.name == route.name && row.target == target && row.external_port == route.external_port
            };
            row.file.as_deref() == Some(&file) && removed.iter().any(is_row)
        });
        match left.next() {
            None => return Ok(()),
            Some(row) if clock::instant() > deadline => {
                return Err(Failure::new(
                    ErrorKind::Timeout,
                    format!("route `{}`: the registrar has not removed it within 15 s", row.name),
                )
                .with_hint("it will be removed: `weir route list` shows it, `weir doctor` looks what is wrong"));
            }
            Some(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}
