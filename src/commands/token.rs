//! `weir token`: prints the token of the user who is logged in, or else of the operator.

use std::fs;
use std::io;
use std::process::ExitCode;

use weir_error::ErrorKind;

use crate::client::login::Login;
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::Output;

const EXAMPLES: &str = "\
Examples:
  weir token                                bearer Zm9v…: of who is logged in (`weir login`), else the operator's
  weir token --operator                     the operator's in any case: it reads everything and does not end
  curl --cacert \"$(weir endpoints ca)\" -H \"Authorization: $(weir token)\" \\
       \"$(weir endpoints sql_http)/v1/sql\" --data-binary 'select count(*) from logs'
  CF_ACCESS_TOKEN=\"$(weir token)\" my-nozzle

A user's token is good for at least five minutes when it is printed; it is refreshed for that.";

/// Print a token for the firehose, ready for an `Authorization` header
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Without the word `bearer` in front
    #[arg(long)]
    bare: bool,

    /// The operator's token, whoever is logged in
    #[arg(long)]
    operator: bool,
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    let token = if args.operator {
        operator(&state)?
    } else {
        current(&state).await?
    };
    let text = if args.bare { token } else { format!("bearer {token}") };
    Output::stdout().line(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the token of the user who is logged in, refreshed if necessary, or else the operator's. It has no `bearer` in front.
pub(crate) async fn current(state: &StateDir) -> Result<String, Failure> {
    match Login::read(state)? {
        Some(login) => login.token(state).await,
        None => operator(state),
    }
}

/// Returns the operator's token of this stack, without `bearer` in front.
pub(crate) fn operator(state: &StateDir) -> Result<String, Failure> {
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
