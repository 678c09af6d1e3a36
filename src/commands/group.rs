//! `weir group`: scopes, and who has them.

use std::process::ExitCode;

use super::accounts::{json, show};
use super::user::join;
use crate::client::uaa::{Administrator, EVERYBODY};
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::note;

const EXAMPLES: &str = "\
Examples:
  weir group add logs.read.web --user alice may read the source `web` from the next login or refresh on
  weir group list                           all groups, and who is in them
  weir group remove logs.read.web --user alice
                                            takes alice out; `weir user password alice` ends her tokens at once
  weir group remove logs.read.web           removes the group

The name of a group is the scope that its members have in their tokens.";

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
    let administrator = Administrator::of(&state).await?;
    match args.action {
        Action::Add(args) => add(&administrator, &args).await,
        Action::List(args) => list(&administrator, args.json).await,
        Action::Remove(args) => remove(&administrator, &args).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn add(administrator: &Administrator, args: &Members) -> Result<(), Failure> {
    if args.users.is_empty() {
        let (_, made) = administrator.ensure_group(&args.group).await?;
        let how = if made { "is there" } else { "was there already" };
        note(&format!("group `{}` {how}", args.group));
    }
    for name in &args.users {
        let user = administrator.user(name).await?;
        join(administrator, &args.group, &user).await?;
    }
    Ok(())
}

async fn list(administrator: &Administrator, as_json: bool) -> Result<(), Failure> {
    let groups = administrator.groups().await?;
    if as_json {
        return json(&groups);
    }
    let users = administrator.users().await?;
    let name = |id: &str| {
        let user = users.iter().find(|user| user.id == id).map(|user| user.user_name.as_str());
        let group = || groups.iter().find(|group| group.id == id).map(|group| group.display_name.as_str());
        user.or_else(group).unwrap_or(id).to_owned()
    };
    let rows: Vec<[String; 2]> = groups
        .iter()
        .map(|group| {
            let mut members: Vec<String> = group.members.iter().map(|member| name(&member.value)).collect();
            members.sort_unstable();
            let members = if EVERYBODY.contains(&group.display_name.as_str()) {
                "everybody".to_owned()
            } else {
                members.join(" ")
            };
            [group.display_name.clone(), members]
        })
        .collect();
    show(["GROUP", "MEMBERS"], &rows)
}

async fn remove(administrator: &Administrator, args: &Removal) -> Result<(), Failure> {
    let group = administrator.group(&args.group).await?;
    if args.users.is_empty() {
        administrator.remove_group(&group).await?;
        note(&format!("group `{}` is removed", args.group));
    }
    for name in &args.users {
        let user = administrator.user(name).await?;
        administrator.leave(&group, &user).await?;
        note(&format!("`{name}` is no longer in `{}`", args.group));
    }
    Ok(())
}
