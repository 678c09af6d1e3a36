//! `weir login` and `weir logout`: choose the user whose token `weir token` and `weir sql` use.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use weir_error::{Classify as _, ErrorKind};

use crate::client::Stack;
use crate::client::login::{Login, reads};
use crate::client::uaa;
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::{Output, ask, note, secret, stdout_is_terminal};

const EXAMPLES: &str = "\
Examples:
  weir login --user alice                   asks for the password
  weir endpoints admin_password | weir login --user admin
                                            from a pipe, where nobody sees it
  weir token                                the token of who is logged in, refreshed when it needs it
  weir sql \"select count(*) from logs\"      counts what that user may see
  weir logout                               back to the operator's token

The tokens are kept in the state directory (login.json, 0600). Who there is: `weir user list`.";

const LOGOUT_EXAMPLES: &str = "\
Example:
  weir logout                               from now on `weir token` prints the operator's token";

/// Log in as a user of this stack's UAA
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The user; without it, the command asks
    #[arg(long, short, value_name = "NAME")]
    user: Option<String>,

    /// The password. Other users of this machine can see it here: better leave it out and be asked, or pipe it in
    #[arg(long, short, value_name = "PASSWORD", hide_env_values = true, env = "WEIR_PASSWORD")]
    password: Option<String>,
}

/// End the login and its tokens; `weir token` prints the operator's token again
#[derive(Debug, clap::Args)]
#[command(after_help = LOGOUT_EXAMPLES)]
pub(crate) struct LogoutArgs {}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    let stack = Stack::find(&state)?;
    let user = match args.user {
        Some(user) => user,
        None => ask_user()?,
    };
    let password = match args.password {
        Some(password) => password,
        None => secret(&format!("Password of {user}"))?,
    };
    let tokens = uaa::uaa(&stack)?.log_in(uaa::CLIENT, "", &user, &password).await;
    let tokens = tokens.map_err(|error| {
        let denied = error.kind() == ErrorKind::Unauthenticated;
        let failure = uaa::failed(format_args!("login as `{user}`"), &error);
        // Another password does not help while the name is locked.
        if denied && !failure.message().contains("locked") {
            failure.with_hint(hint(&stack, &user))
        } else {
            failure
        }
    })?;
    let claims = uaa::checked(&stack, &tokens).await?;
    let login = Login::new(user, &tokens, &claims);
    login.write(&state)?;
    let text = format!(
        "logged in as `{}`: {}",
        login.user,
        reads(&stack, &tokens, &claims).await
    );
    if stdout_is_terminal() {
        Output::stdout().line(&text)?;
    } else {
        note(&text);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn log_out(_: LogoutArgs, state: StateDir) -> Result<ExitCode, Failure> {
    // A damaged file is removed too.
    let login = Login::read(&state).ok().flatten();
    if !Login::remove(&state)? {
        note("nobody was logged in");
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(login) = login
        && let Err(failure) = end(&login, &state).await
    {
        note(&format!(
            "the tokens could not be ended ({}): they end by themselves",
            failure.message()
        ));
    }
    note("logged out: `weir token` prints the operator's token now");
    Ok(ExitCode::SUCCESS)
}

/// Revokes the tokens at UAA, so that copies of them are useless.
async fn end(login: &Login, state: &StateDir) -> Result<(), Failure> {
    let stack = Stack::find(state)?;
    // The refresh token first: it could still get new access tokens.
    for token in login.refresh_token.iter().chain([&login.access_token]) {
        uaa::revoke(&stack, token).await?;
    }
    Ok(())
}

/// Returns the hint for a wrong password.
fn hint(stack: &Stack, user: &str) -> String {
    let flag = stack.state.as_flag();
    if stack.endpoints.admin_user == user {
        format!("the generated password is printed by `weir{flag} endpoints admin_password`, unless it was changed")
    } else {
        format!(
            "an operator sees who there is with `weir{flag} user list`, and gives another password with `weir{flag} user password`"
        )
    }
}

fn ask_user() -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::new(ErrorKind::InvalidInput, "user: not given").with_hint("say it with `--user NAME`"));
    }
    ask("User: ");
    let mut line = String::new();
    io::stdin()
        .read_line(&mut line)
        .map_err(|error| Failure::io("terminal", &error))?;
    match line.trim() {
        "" => Err(Failure::new(ErrorKind::InvalidInput, "user: not given")),
        user => Ok(user.to_owned()),
    }
}
