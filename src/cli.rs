//! The command line: the tree of commands, and the options of all commands. The arguments and examples of each command are beside
//! its code in `commands/`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::{
    completions, component, doctor, drain, emit, endpoints, group, login, oauth_client, recent, route, run, sql, tail,
    token, top, up, user,
};

/// The width of help texts on wide terminals, in columns.
const HELP_WIDTH: usize = 110;

/// The examples of `weir --help`.
const EXAMPLES: &str = "\
Examples:
  weir up                                   start a whole stack here; Ctrl-C stops it in order
  weir run -- ls -l /                       ship what a program prints, keep its exit status
  cat *.log | weir emit --source-id batch   ship lines; ends when the pipeline has taken all of them
  weir tail                                 watch everything live
  weir recent ls -n 20                      what a source said last
  weir sql \"select source_id, count(*) from logs group by 1 order by 2 desc\"
  weir drain add --source-id ls syslog://logs.example:514
                                            send a source's lines to a syslog server as well
  weir route add web 127.0.0.1:8080         requests to web.weir.localhost reach a program
  weir user add alice --group logs.read.ls  somebody who may read one source; see also weir login
  weir doctor                               what is wrong here, and what to do

Commands find the stack by --state-dir or WEIR_STATE_DIR (default: .weir in the current directory).
`weir help COMMAND` shows the examples of one command.";

/// A Cloud Foundry Loggregator stack in one program: agents, doppler, reverse log proxy, traffic controller, syslog drains
/// and a log cache that answers SQL. Existing nozzles and clients connect unchanged; nothing is lost without being counted.
#[derive(Debug, Parser)]
#[command(name = "weir", version, after_help = EXAMPLES, max_term_width = HELP_WIDTH, propagate_version = false)]
#[command(
    disable_help_subcommand = false,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    /// Where the stack keeps its state: certificates, token, endpoints, ledgers.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "WEIR_STATE_DIR",
        default_value = ".weir"
    )]
    pub(crate) state_dir: PathBuf,

    /// On a terminal, print control characters in names, tags, rows and errors as they are. Without it they are shown as
    /// what they are, except in the lines of `weir tail` and `weir recent`, which are printed byte for byte
    #[arg(long, global = true)]
    pub(crate) raw: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Up(up::Args),
    Run(run::Args),
    Emit(emit::Args),
    Tail(tail::Args),
    Recent(recent::Args),
    Sql(sql::Args),
    Top(top::Args),
    Endpoints(endpoints::Args),
    Token(token::Args),
    Login(login::Args),
    Logout(login::LogoutArgs),
    User(user::Args),
    Group(group::Args),
    Client(oauth_client::Args),
    Drain(drain::Args),
    Route(route::Args),
    Doctor(doctor::Args),
    Completions(completions::Args),
    #[command(flatten)]
    Component(component::Chosen),
}

#[cfg(test)]
mod tests;
