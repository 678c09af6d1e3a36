//! `weir group`: administers groups, whose names are scopes, and their members.

use std::process::ExitCode;

use serde_json::json;
use weir_error::{Classify as _, ErrorKind};
use weir_uaa_client::{Admin, GroupEntry};

use super::accounts::{print_json, show};
use super::user::join;
use crate::client::uaa::{DEFAULT_GROUPS, administrator, failed};
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::note;

const EXAMPLES: &str = "\
Examples:
  weir group add logs.read.web --user alice may read the source `web`, half a minute from now at the latest
  weir group list                           all groups, and who is in them
  weir group remove logs.read.web --user alice
                                            takes alice out, and ends her access tokens
  weir group remove logs.read.web           removes the group

The name of a group is the scope that its members have in their tokens; for all of `logs.read.SOURCE` that is `logs.read`.";

/// Add, list and remove groups and their members
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Add(Members),
    List(List),
    Remove(Removal),
}

/// Add a group, or users to a group
#[derive(Debug, clap::Args)]
struct Members {
    /// The name of the group
    group: String,

    /// A user to put into it; may be given several times
    #[arg(long = "user", value_name = "NAME")]
    users: Vec<String>,
}

/// Remove a group, or users from a group
#[derive(Debug, clap::Args)]
struct Removal {
    /// The name of the group
    group: String,

    /// Take only this user out of it; may be given several times
    #[arg(long = "user", value_name = "NAME")]
    users: Vec<String>,
}

/// Show all groups and their members
#[derive(Debug, clap::Args)]
struct List {
    /// As JSON, with ids
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    let admin = administrator(&state).await?;
    match args.action {
        Action::Add(args) => add(&admin, &args).await,
        Action::List(args) => list(&admin, args.json).await,
        Action::Remove(args) => remove(&admin, &args).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn add(admin: &Admin, args: &Members) -> Result<(), Failure> {
    if args.users.is_empty() {
        let subject = format!("group `{}`", args.group);
        match admin.add_group(&args.group, None).await {
            Ok(_) => note(&format!("{subject} is there")),
            Err(error) if error.kind() == ErrorKind::Conflict => note(&format!("{subject} was there already")),
            Err(error) => return Err(failed(subject, &error)),
        }
    }
    for name in &args.users {
        join(admin, &args.group, name).await?;
    }
    Ok(())
}

async fn list(admin: &Admin, as_json: bool) -> Result<(), Failure> {
    let mut groups = admin.groups().await.map_err(|error| failed("groups", &error))?;
    groups.sort_by(|one, other| one.display_name.cmp(&other.display_name));
    let users = admin.users().await.map_err(|error| failed("users", &error))?;
    let name = |id: &str| {
        let user = users
            .iter()
            .find(|user| user.id == id)
            .map(|user| user.user_name.as_str());
        let group = || {
            groups
                .iter()
                .find(|group| group.id == id)
                .map(|group| group.display_name.as_str())
        };
        user.or_else(group).unwrap_or(id).to_owned()
    };
    let members = |group: &GroupEntry| {
        let mut members: Vec<String> = group.members.iter().map(|member| name(&member.value)).collect();
        members.sort_unstable();
        members
    };
    if as_json {
        let shown = |group: &GroupEntry| json!({"id": group.id, "name": group.display_name, "members": members(group)});
        return print_json(&groups.iter().map(shown).collect());
    }
    let rows: Vec<[String; 2]> = groups
        .iter()
        .map(|group| {
            let members = if DEFAULT_GROUPS.contains(&group.display_name.as_str()) {
                "everybody".to_owned()
            } else {
                members(group).join(" ")
            };
            [group.display_name.clone(), members]
        })
        .collect();
    show(["GROUP", "MEMBERS"], &rows)
}

async fn remove(admin: &Admin, args: &Removal) -> Result<(), Failure> {
    let subject = format!("group `{}`", args.group);
    if args.users.is_empty() {
        let removed = admin.remove_group(&args.group).await;
        removed.map_err(|error| failed(&subject, &error))?;
        note(&format!("group `{}` is removed", args.group));
    }
    for name in &args.users {
        let left = admin.remove_member(&args.group, name).await;
        left.map_err(|error| failed(&subject, &error))?;
        note(&format!("`{name}` is no longer in `{}`", args.group));
    }
    Ok(())
}
