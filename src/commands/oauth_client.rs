//! `weir client`: administers OAuth clients, the programs that get tokens for themselves or for users.

use std::process::ExitCode;

use serde_json::json;
use weir_config::Secret;
use weir_error::{Classify as _, ErrorKind};
use weir_uaa_client::{Admin, ClientEntry, NewClient};

use super::accounts::{print_json, show};
use crate::client::uaa::{administrator, failed};
use crate::failure::Failure;
use crate::state::StateDir;
use crate::terminal::{note, secret};

const EXAMPLES: &str = "\
Examples:
  weir client add nozzle --authority doppler.firehose < secret
                                            a nozzle that gets its own token (grant client_credentials)
  weir client add dashboard --grant authorization_code --grant refresh_token --scope openid --scope 'logs.read.*' \\
      --redirect-uri https://dashboard.example/callback
                                            a web page where users log in
  weir client list
  weir client remove nozzle                 its tokens end within a minute

A nozzle asks for its token like this:
  curl --cacert \"$(weir endpoints ca)\" \"$(weir endpoints uaa)/oauth/token\" \\
       -d grant_type=client_credentials -d client_id=nozzle --data-urlencode client_secret@secret";

/// The grant type of a client without `--grant`, with which a client gets tokens for itself.
const DEFAULT_GRANT: &str = "client_credentials";

/// Add, list and remove OAuth clients
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
    Remove(Remove),
}

/// Add a client
#[derive(Debug, clap::Args)]
struct Add {
    /// The id of the client
    id: String,

    /// Its secret. Other users of this machine can see it here: better leave it out and be asked, or pipe it in
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,

    /// How it gets tokens: client_credentials (the default), password, authorization_code, refresh_token; may be given
    /// several times
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<String>,

    /// A scope that its users' tokens may have, such as `logs.read.*`; may be given several times
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,

    /// A scope of its own tokens, such as `doppler.firehose`; may be given several times
    #[arg(long = "authority", value_name = "SCOPE")]
    authorities: Vec<String>,

    /// Where users are sent after they have logged in; may be given several times
    #[arg(long = "redirect-uri", value_name = "URL")]
    redirect_uris: Vec<String>,

    /// Users are not asked whether it may have their scopes
    #[arg(long)]
    autoapprove: bool,
}

/// Show all clients
#[derive(Debug, clap::Args)]
struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Remove clients
#[derive(Debug, clap::Args)]
struct Remove {
    /// The ids of the clients
    #[arg(required = true)]
    ids: Vec<String>,
}

pub(crate) async fn run(args: Args, state: StateDir) -> Result<ExitCode, Failure> {
    let admin = administrator(&state).await?;
    match args.action {
        Action::Add(args) => add(&admin, args).await,
        Action::List(args) => list(&admin, args.json).await,
        Action::Remove(args) => remove(&admin, &args.ids).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

async fn add(admin: &Admin, args: Add) -> Result<(), Failure> {
    let mut client = client(&args)?;
    let secret = match args.secret {
        Some(secret) => secret,
        None => secret(&format!("Secret of {}", args.id))?,
    };
    client.client_secret = Some(Secret::new(secret));
    let subject = format!("client `{}`", args.id);
    admin.add_client(&client).await.map_err(|error| match error.kind() {
        ErrorKind::Conflict => Failure::new(ErrorKind::Conflict, format!("{subject}: exists already"))
            .with_hint("choose another id, or remove it first with `weir client remove`"),
        _ => failed(&subject, &error),
    })?;
    note(&format!("{subject} is there"));
    Ok(())
}

/// Returns the client of the arguments. A client that could never get a useful token is refused.
fn client(args: &Add) -> Result<NewClient, Failure> {
    let mut grants = args.grants.clone();
    if grants.is_empty() {
        grants.push(DEFAULT_GRANT.to_owned());
    }
    let has = |grant: &str| grants.iter().any(|known| known == grant);
    let mistake = |text: &str, hint: &str| {
        let failure = Failure::new(ErrorKind::InvalidInput, format!("client `{}`: {text}", args.id));
        Err(failure.with_hint(hint))
    };
    if has(DEFAULT_GRANT) && args.authorities.is_empty() {
        return mistake(
            "its own tokens would allow nothing",
            "say what they allow with `--authority`, such as `--authority doppler.firehose`",
        );
    }
    if has("authorization_code") && args.redirect_uris.is_empty() {
        return mistake(
            "users could not be sent back to it",
            "say where it is with `--redirect-uri`",
        );
    }
    if grants.iter().any(|grant| grant != DEFAULT_GRANT) && args.scopes.is_empty() {
        return mistake(
            "its users' tokens would allow nothing",
            "say what they may allow with `--scope`, such as `--scope 'logs.read.*'`",
        );
    }
    Ok(NewClient {
        client_id: args.id.clone(),
        authorized_grant_types: grants,
        scope: args.scopes.clone(),
        authorities: args.authorities.clone(),
        redirect_uri: args.redirect_uris.clone(),
        autoapprove: args.autoapprove,
        ..NewClient::default()
    })
}

async fn list(admin: &Admin, as_json: bool) -> Result<(), Failure> {
    let mut clients = admin.clients().await.map_err(|error| failed("clients", &error))?;
    clients.sort_by(|one, other| one.client_id.cmp(&other.client_id));
    if as_json {
        let shown = |client: &ClientEntry| {
            json!({
                "id": client.client_id, "grants": client.authorized_grant_types, "authorities": client.authorities,
                "scopes": client.scope, "redirect_uris": client.redirect_uri,
            })
        };
        return print_json(&clients.iter().map(shown).collect());
    }
    let shown = |scopes: &[String]| {
        let scopes: Vec<&str> = scopes
            .iter()
            .map(String::as_str)
            .filter(|scope| *scope != "uaa.none")
            .collect();
        scopes.join(" ")
    };
    let rows: Vec<[String; 4]> = clients
        .iter()
        .map(|client| {
            [
                client.client_id.clone(),
                client.authorized_grant_types.join(" "),
                shown(&client.authorities),
                shown(&client.scope),
            ]
        })
        .collect();
    show(["CLIENT", "GRANTS", "AUTHORITIES", "SCOPES"], &rows)
}

async fn remove(admin: &Admin, ids: &[String]) -> Result<(), Failure> {
    for id in ids {
        admin.remove_client(id).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let failure = Failure::new(ErrorKind::NotFound, format!("client `{id}`: there is none of that id"));
                failure.with_hint("`weir client list` shows all")
            }
            _ => failed(format_args!("client `{id}`"), &error),
        })?;
        note(&format!("client `{id}` is removed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add() -> Add {
        Add {
            id: "x".to_owned(),
            secret: None,
            grants: Vec::new(),
            scopes: Vec::new(),
            authorities: Vec::new(),
            redirect_uris: Vec::new(),
            autoapprove: false,
        }
    }

    /// A client that could never get a useful token is refused, with a hint to the missing option.
    #[test]
    fn useless_clients_are_refused() {
        let texts = |strings: &[&str]| strings.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let hint = |add: &Add| client(add).expect_err("a mistake").to_string();
        assert!(hint(&add()).contains("--authority"));
        let code = Add {
            grants: texts(&["authorization_code"]),
            ..add()
        };
        assert!(hint(&code).contains("--redirect-uri"));
        let password = Add {
            grants: texts(&["password"]),
            ..add()
        };
        assert!(hint(&password).contains("--scope"));
        let nozzle = Add {
            authorities: texts(&["doppler.firehose"]),
            ..add()
        };
        assert_eq!(
            client(&nozzle).expect("useful").authorized_grant_types,
            ["client_credentials"]
        );
    }
}
