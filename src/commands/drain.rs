//! `weir drain`: adds and removes syslog drains, and shows the status of all drains.
//!
//! Added drains are in `drains.json` of the state directory ([`store`]), which the binding cache watches. The syslog agent reports
//! the status of each drain ([`status`]). User info, query and certificates of a drain are never shown.

mod add;
mod list;
mod probe;
mod remove;
mod status;
mod store;
mod target;

use std::process::ExitCode;

pub(crate) use status::Drain;

use crate::failure::Failure;
use crate::state::StateDir;

const EXAMPLES: &str = "\
Examples:
  weir drain add --source-id web syslog-tls://logs.example:6514
                                            what `web` says goes there as well, from now on
  weir drain add --source-id web 'https-batch://user:secret@logs.example/in?drain-data=all'
                                            logs, metrics and traces in large POSTs; see docs/operations.md
  weir drain list                           how all drains are doing: state, what waits, what was lost
  weir drain probe syslog-tls://logs.example:6514
                                            sends one test message and explains what it finds
  weir drain remove syslog-tls://logs.example:6514

While a drain is away its lines wait, in memory and then on disk, and are sent in order when it is
back. The app's own stream says what is wrong (`weir tail web`), and so does
`weir sql 'select * from drain_status'`.";

/// Send a source's lines to a syslog server or an HTTPS collector, and see how that goes
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

/// The subcommands of `weir drain`.
#[derive(Debug, clap::Subcommand)]
enum Action {
    Add(add::Args),
    List(list::Args),
    Remove(remove::Args),
    Probe(probe::Args),
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    match args.action {
        Action::Add(args) => add::run(args, &state).await,
        Action::List(args) => list::run(args, &state).await,
        Action::Remove(args) => remove::run(args, &state).await,
        Action::Probe(args) => probe::run(args, &state).await,
    }
}

/// Returns the status of the drains of a running stack, and of the sources of drains.
pub(crate) async fn look(stack: &crate::client::Stack) -> Result<(Vec<Drain>, status::CacheStatus), Failure> {
    Ok((status::drains(stack).await?, status::cache(stack).await?))
}
