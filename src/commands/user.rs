//! `weir user`: who may log in.

use std::process::ExitCode;

use weir_error::ErrorKind;

use super::accounts::{json, show};
use crate::client::uaa::{Administrator, User};
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::{note, secret};

const EXAMPLES: &str = "\
Examples:
  weir user add alice --group logs.read.web may read the source `web`, and nothing else; asks for the password
  weir user add bob --group logs.admin < password
                                            may read everything; the password comes from a file
  weir user list                            who there is, and what tells them apart
  weir user password alice                  gives another password; tokens that rest on the old one end
  weir user remove alice                    removes the user; all their tokens end within a minute

A group is a scope: `logs.read.SOURCE` reads one source, `logs.admin` everything, `doppler.firehose` everything and the
firehose. `weir group` changes who is in which.";

/// Add, list and remove users
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Add(Add),
    List(List),
    Password(Password),
    Remove(Remove),
}

/// Add a user
#[derive(Debug, clap::Args)]
struct Add {
    /// What they log in as
    name: String,

    /// The password. Other users of this machine can see it here: better leave it out and be asked, or pipe it in
    #[arg(long, value_name = "PASSWORD", hide_env_values = true, env = "WEIR_PASSWORD")]
    password: Option<String>,

    /// A group to put them into, made if it is not there; may be given several times
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,

    /// The address of the user; without it, the name stands for it
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
}

/// Show all users, with their groups but those that everybody is in
#[derive(Debug, clap::Args)]
struct List {
    /// As JSON, with ids
    #[arg(long)]
    json: bool,
}

/// Give a user another password
#[derive(Debug, clap::Args)]
struct Password {
    /// Whose
    name: String,

    /// The password. Other users of this machine can see it here: better leave it out and be asked, or pipe it in
    #[arg(long, value_name = "PASSWORD", hide_env_values = true, env = "WEIR_PASSWORD")]
    password: Option<String>,
}

/// Remove users
#[derive(Debug, clap::Args)]
struct Remove {
    /// Whom
    #[arg(required = true)]
    names: Vec<String>,
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    match args.action {
        Action::Add(args) => add(args, &state).await,
        Action::List(args) => list(&Administrator::of(&state).await?, args.json).await,
        Action::Password(args) => password(args, &state).await,
        Action::Remove(args) => remove(&args.names, &state).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn add(args: Add, state: &StateDir) -> Result<(), Failure> {
    let name = &args.name;
    if name.trim().is_empty() || name.trim() != name {
        return Err(Failure::new(
            ErrorKind::InvalidInput,
            format!("user `{name}`: a name has no blanks around it"),
        ));
    }
    let administrator = Administrator::of(state).await?;
    let password = given(args.password, name)?;
    let user = administrator
        .add_user(name, &password, args.email.as_deref().unwrap_or(name))
        .await?;
    note(&format!("user `{name}` is there"));
    for group in &args.groups {
        join(&administrator, group, &user).await?;
    }
    Ok(())
}

/// Puts `user` into the group of this name.
pub(super) async fn join(administrator: &Administrator, group: &str, user: &User) -> Result<(), Failure> {
    let (group, made) = administrator.ensure_group(group).await?;
    administrator.join(&group, user).await?;
    let made = if made { ", which is new" } else { "" };
    note(&format!("`{}` is in `{}`{made}", user.user_name, group.display_name));
    Ok(())
}

async fn list(administrator: &Administrator, as_json: bool) -> Result<(), Failure> {
    let users = administrator.users().await?;
    if as_json {
        return json(&users);
    }
    let rows: Vec<[String; 4]> = users
        .iter()
        .map(|user| {
            let state = if user.active { "active" } else { "inactive" };
            [
                user.user_name.clone(),
                user.origin.clone(),
                state.to_owned(),
                user.groups().join(" "),
            ]
        })
        .collect();
    show(["NAME", "ORIGIN", "STATE", "GROUPS"], &rows)
}

async fn password(args: Password, state: &StateDir) -> Result<(), Failure> {
    let administrator = Administrator::of(state).await?;
    let user = administrator.user(&args.name).await?;
    let password = given(args.password, &args.name)?;
    administrator.set_password(&user, &password).await?;
    note(&format!("`{}` has another password now", args.name));
    Ok(())
}

async fn remove(names: &[String], state: &StateDir) -> Result<(), Failure> {
    let administrator = Administrator::of(state).await?;
    for name in names {
        let user = administrator.user(name).await?;
        administrator.remove_user(&user).await?;
        note(&format!("user `{name}` is removed"));
    }
    Ok(())
}

fn given(password: Option<String>, name: &str) -> Result<String, Failure> {
    match password {
        Some(password) => Ok(password),
        None => secret(&format!("New password of {name}")),
    }
}
