//! `weir token`: the token that opens the firehose and SQL.

use std::fs;
use std::io;
use std::process::ExitCode;

use weir_error::ErrorKind;

use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::Output;

const EXAMPLES: &str = "\
Examples:
  weir token                                bearer Zm9v…
  curl --cacert \"$(weir endpoints ca)\" -H \"Authorization: $(weir token)\" \\
       \"$(weir endpoints sql_http)/v1/sql\" --data-binary 'select count(*) from logs'
  CF_ACCESS_TOKEN=\"$(weir token)\" my-nozzle";

/// Print a token for the firehose, ready for an `Authorization` header
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Without the word `bearer` in front
    #[arg(long)]
    bare: bool,
}

pub(crate) fn run(args: &Args, state: &StateDir) -> Result<ExitCode, Failure> {
    let token = read(state)?;
    let text = if args.bare { token } else { format!("bearer {token}") };
    Output::stdout().line(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// The token of this stack, without `bearer`.
pub(crate) fn read(state: &StateDir) -> Result<String, Failure> {
    match fs::read_to_string(state.token()) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::new(
            ErrorKind::NotFound,
            format!("stack in `{}`: has no token yet", state.root().display()),
        )
        .with_hint(format!("`weir{} up` makes one at its first start", state.as_flag()))),
        Err(error) => Err(Failure::file(&state.token(), &error)),
    }
}
