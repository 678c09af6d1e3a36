//! The tree of commands. Each command keeps its arguments and its examples beside its code in `commands/`; here they
//! are put together, with what all of them share: where the stack is.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::commands::{
    completions, component, doctor, drain, emit, endpoints, group, login, oauth_client, recent, run, sql, tail, token,
    top, up, user,
};

/// Width of help texts on wide terminals.
const HELP_WIDTH: usize = 110;

/// Shown under `weir --help`.
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

/// What `weir` can do.
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
    Doctor(doctor::Args),
    Completions(completions::Args),
    /// Run the UAA: users, clients, and the tokens that the public faces take
    Uaa(component::Args),
    /// Run the forwarder agent: takes envelopes from producers on this machine, gives them to all of its agents
    ForwarderAgent(component::Args),
    /// Run the loggregator agent: takes envelopes from the forwarder agent or from producers, sends them to the dopplers
    LoggregatorAgent(component::Args),
    /// Run the syslog agent: takes envelopes from the forwarder agent, sends them to the apps' syslog drains
    SyslogAgent(component::Args),
    /// Run the binding cache: which apps drain where, for the syslog agents
    BindingCache(component::Args),
    /// Run the doppler: routes every envelope to the subscribers whose selectors match
    Doppler(component::Args),
    /// Run the reverse log proxy: v2 gRPC streams for nozzles, merged from all dopplers
    Rlp(component::Args),
    /// Run the RLP gateway: the stream as server-sent events over HTTPS, for clients with a token
    RlpGateway(component::Args),
    /// Run the traffic controller: the WebSocket firehose and app streams (v1)
    TrafficController(component::Args),
    /// Run the log cache: recent logs and metrics by gRPC, REST and SQL
    LogCache(component::Args),
    /// Run the log cache's syslog server: takes what the original's syslog agents send to their aggregate drain
    LogCacheSyslog(component::Args),
}

#[cfg(test)]
mod tests;
