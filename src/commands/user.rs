//! `weir user`: administers the users of the stack's UAA.

use std::process::ExitCode;

use serde_json::json;
use weir_config::Secret;
use weir_error::{Classify as _, ErrorKind};
use weir_uaa_client::{Admin, NewUser, UserEntry};

use super::accounts::{print_json, show};
use crate::client::uaa::{DEFAULT_GROUPS, administrator, failed};
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
    /// The name of the user
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
    /// The name of the user
    name: String,

    /// The password. Other users of this machine can see it here: better leave it out and be asked, or pipe it in
    #[arg(long, value_name = "PASSWORD", hide_env_values = true, env = "WEIR_PASSWORD")]
    password: Option<String>,
}

/// Remove users
#[derive(Debug, clap::Args)]
struct Remove {
    /// The names of the users
    #[arg(required = true)]
    names: Vec<String>,
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    match args.action {
        Action::Add(args) => add(args, &state).await,
        Action::List(args) => list(&administrator(&state).await?, args.json).await,
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
    let admin = administrator(state).await?;
    let user = NewUser {
        user_name: name.clone(),
        password: Some(given(args.password, name)?),
        email: args.email,
        origin: None,
    };
    let subject = format!("user `{name}`");
    admin.add_user(&user).await.map_err(|error| match error.kind() {
        ErrorKind::Conflict => Failure::new(ErrorKind::Conflict, format!("{subject}: exists already")).with_hint(
            format!("put it into a group with `weir group add GROUP --user {name}`, or remove it first"),
        ),
        _ => failed(&subject, &error),
    })?;
    note(&format!("{subject} is there"));
    for group in &args.groups {
        join(&admin, group, name).await?;
    }
    Ok(())
}

/// Adds a user to a group, and creates the group if it is absent.
pub(super) async fn join(admin: &Admin, group: &str, user: &str) -> Result<(), Failure> {
    let joined = admin.ensure_member(group, user).await;
    joined.map_err(|error| failed(format_args!("group `{group}`"), &error))?;
    note(&format!("`{user}` is in `{group}`"));
    Ok(())
}

/// Returns the groups of a user without the default groups.
fn groups(user: &UserEntry) -> Vec<&str> {
    let mut groups: Vec<&str> = user
        .groups
        .iter()
        .map(String::as_str)
        .filter(|group| !DEFAULT_GROUPS.contains(group))
        .collect();
    groups.sort_unstable();
    groups
}

async fn list(admin: &Admin, as_json: bool) -> Result<(), Failure> {
    let mut users = admin.users().await.map_err(|error| failed("users", &error))?;
    users.sort_by(|one, other| (&one.user_name, &one.origin).cmp(&(&other.user_name, &other.origin)));
    if as_json {
        let shown = |user: &UserEntry| {
            json!({
                "id": user.id, "name": user.user_name, "origin": user.origin, "active": user.active,
                "groups": groups(user),
            })
        };
        return print_json(&users.iter().map(shown).collect());
    }
    let rows: Vec<[String; 4]> = users
        .iter()
        .map(|user| {
            let state = if user.active { "active" } else { "inactive" };
            [
                user.user_name.clone(),
                user.origin.clone(),
                state.to_owned(),
                groups(user).join(" "),
            ]
        })
        .collect();
    show(["NAME", "ORIGIN", "STATE", "GROUPS"], &rows)
}

async fn password(args: Password, state: &StateDir) -> Result<(), Failure> {
    let admin = administrator(state).await?;
    let subject = format!("password of `{}`", args.name);
    // The user is looked up first, so that nobody types a password for a name that does not exist.
    admin.user(&args.name).await.map_err(|error| failed(&subject, &error))?;
    let password = given(args.password, &args.name)?;
    let set = admin.set_password(&args.name, &password).await;
    set.map_err(|error| failed(&subject, &error))?;
    note(&format!("`{}` has another password now", args.name));
    Ok(())
}

async fn remove(names: &[String], state: &StateDir) -> Result<(), Failure> {
    let admin = administrator(state).await?;
    for name in names {
        let removed = admin.remove_user(name).await;
        removed.map_err(|error| failed(format_args!("user `{name}`"), &error))?;
        note(&format!("user `{name}` is removed"));
    }
    Ok(())
}

fn given(password: Option<String>, name: &str) -> Result<Secret<String>, Failure> {
    let password = match password {
        Some(password) => password,
        None => secret(&format!("New password of {name}"))?,
    };
    Ok(Secret::new(password))
}
