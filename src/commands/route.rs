//! `weir route`: programs behind the router, one line for each.
//!
//! The routes are in `routes.json` of the state directory ([`store`]), which the route registrar watches; it says what has
//! become of each ([`status`]).

mod add;
mod list;
mod remove;
mod status;
mod store;
mod target;

use std::process::ExitCode;

use crate::failure::Failure;
use crate::state::StateDir;

const EXAMPLES: &str = "\
Examples:
  weir route add hello 127.0.0.1:8123       https://hello.weir.localhost reaches the program at that port
  weir route add hello 127.0.0.1:8123 --health /health
                                            only while GET /health answers 200 to 299
  weir route add db 127.0.0.1:5432 --tcp 1024
                                            port 1024 of the TCP router reaches it
  weir route list                           all routes, and whether they are registered
  weir route remove hello

Every request is told in the stream of the route's name (`weir recent hello`), and in SQL:
`weir sql \"select status, count(*) from router_requests where app = 'hello' group by 1\"`.";

/// Put a program behind the router
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

/// What `weir route` can do.
#[derive(Debug, clap::Subcommand)]
enum Action {
    Add(add::Args),
    List(list::Args),
    Remove(remove::Args),
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    match args.action {
        Action::Add(args) => add::run(args, &state).await,
        Action::List(args) => list::run(args, &state).await,
        Action::Remove(args) => remove::run(args, &state).await,
    }
}
