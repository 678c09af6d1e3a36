//! Calls to the stack's UAA through `weir_uaa_client`, with the operator's credentials, and failures with hints for the command
//! line.
//!
//! A user who can read the state directory is the operator, because the secret of the client `admin` is there. It stays valid when
//! the administrator's password is changed.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::io;

use http::StatusCode;
use weir_auth::claims::Claims;
use weir_auth::{HttpsIssuer, RawUaa, check_once};
use weir_component::Component as _;
use weir_config::Problems;
use weir_error::{Classify as _, ErrorKind};
use weir_service::Clock;
use weir_uaa_client::{Admin, AdminError, Tokens, Uaa};

use super::Stack;
use crate::failure::Failure;
use crate::state::StateDir;

/// The client id of this program. Its secret is the empty text, as for the cf CLI.
pub(crate) const CLIENT: &str = "weir";
/// The id of the client that may administrate.
const ADMIN: &str = "admin";

/// The groups of every user, which lists leave out.
pub(crate) const DEFAULT_GROUPS: [&str; 14] = [
    "approvals.me",
    "cloud_controller.read",
    "cloud_controller.write",
    "cloud_controller_service_permissions.read",
    "oauth.approvals",
    "openid",
    "password.write",
    "profile",
    "roles",
    "scim.me",
    "scim.userids",
    "uaa.offline_token",
    "uaa.user",
    "user_attributes",
];

/// Returns the URL of a stack's UAA.
fn url(stack: &Stack) -> Result<&str, Failure> {
    stack
        .endpoints
        .address(weir_platform_uaa_server::Server::DESCRIPTION.port().key)
}

/// Returns a client for a stack's UAA.
pub(crate) fn uaa(stack: &Stack) -> Result<Uaa, Failure> {
    Ok(Uaa::new(url(stack)?, Some(&stack.endpoints.ca))?)
}

/// Returns an administrator's client for the UAA of the stack in `state`, which must be running.
pub(crate) async fn administrator(state: &StateDir) -> Result<Admin, Failure> {
    let uaa = uaa(&Stack::find(state)?)?;
    let secret = secret(state)?;
    let tokens = uaa.client_credentials(ADMIN, &secret).await.map_err(|error| {
        let denied = error.kind() == ErrorKind::Unauthenticated;
        let failure = failed(format_args!("client `{ADMIN}`"), &error);
        if denied {
            failure.with_hint(format!(
                "its secret was changed: write the new one into `{}`",
                state.client_secrets().display()
            ))
        } else {
            failure
        }
    })?;
    Ok(uaa.with_token(&tokens.access_token))
}

/// Returns the claims of an access token of [`CLIENT`], verified as the servers of the stack verify it.
pub(crate) async fn checked(stack: &Stack, tokens: &Tokens) -> Result<Claims, Failure> {
    let mut problems = Problems::default();
    let config = RawUaa {
        url: url(stack)?.to_owned(),
        ca: stack.endpoints.ca.clone(),
        audiences: vec![CLIENT.to_owned()],
        ..RawUaa::default()
    };
    let config = config.validate(&mut problems);
    let config = problems.into_result_with(|| config)?;
    let issuer = HttpsIssuer::new(&config)?;
    let token = tokens.access_token.expose();
    Ok(check_once(&config, &issuer, &Clock::system(), token).await?)
}

/// Revokes a token of [`CLIENT`]. A refresh token is revoked with its whole login.
pub(crate) async fn revoke(stack: &Stack, token: &str) -> Result<(), Failure> {
    Ok(uaa(stack)?.revoke(CLIENT, "", token).await?)
}

/// Returns the failure of a call about `subject`.
pub(crate) fn failed(subject: impl Display, error: &AdminError) -> Failure {
    let kind = error.kind();
    match error {
        AdminError::Refused {
            status, description, ..
        } => {
            let failure = Failure::new(kind, format!("{subject}: {}", in_our_style(description)));
            match *status {
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    failure.with_hint("there is much to do; try again in a few seconds")
                }
                _ => failure,
            }
        }
        AdminError::Missing { what, name, .. } => {
            let alike = error.hint();
            Failure::new(kind, format!("{what} `{name}`: there is none of that name"))
                .with_hint(alike.unwrap_or_else(|| format!("`weir {what} list` shows all")))
        }
        AdminError::Https(_) => {
            Failure::new(kind, format!("{subject}: {error}")).with_hint("is the stack well? `weir doctor` looks")
        }
        other => Failure::new(kind, format!("{subject}: {other}")),
    }
}

/// Returns a sentence of UAA in the style of our error texts: lower case, without a full stop.
fn in_our_style(sentence: &str) -> String {
    let mut text = sentence.trim().trim_end_matches('.').to_owned();
    let is_word = text.chars().nth(1).is_some_and(char::is_lowercase);
    if let Some(first) = text.get_mut(..1).filter(|_| is_word) {
        first.make_ascii_lowercase();
    }
    text
}

/// Reads the secret of the client `admin`.
fn secret(state: &StateDir) -> Result<String, Failure> {
    let path = state.client_secrets();
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            ErrorKind::NotFound,
            format!("stack in `{}`: has no clients yet", state.root().display()),
        )
        .with_hint(format!("`weir{} up` makes them at its first start", state.as_flag())),
        _ => Failure::file(&path, &error),
    })?;
    let secrets: Option<BTreeMap<String, String>> = serde_json::from_str(&text).ok();
    secrets.and_then(|mut secrets| secrets.remove(ADMIN)).ok_or_else(|| {
        Failure::new(
            ErrorKind::InvalidInput,
            format!("`{}`: has no secret of client `{ADMIN}`", path.display()),
        )
        .with_hint("restore it from a backup, or write a secret for `admin` into it and start the stack again")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Errors of UAA become failures with our texts and hints.
    #[test]
    fn refusals_are_told() {
        let refused = |status, description: &str| {
            let error = AdminError::Refused {
                status,
                error: "unauthorized".to_owned(),
                description: description.to_owned(),
            };
            failed("login as `alice`", &error)
        };
        let failure = refused(StatusCode::UNAUTHORIZED, "Bad credentials.");
        assert_eq!(failure.to_string(), "error: login as `alice`: bad credentials");
        assert_eq!(failure.kind(), ErrorKind::Unauthenticated);
        let busy = refused(StatusCode::SERVICE_UNAVAILABLE, "OAuth is busy").to_string();
        assert!(busy.contains("OAuth is busy\nhint: "), "{busy}");
        let missing = AdminError::Missing {
            what: "user",
            name: "bob".to_owned(),
            alike: Vec::new(),
        };
        assert_eq!(
            failed("x", &missing).to_string(),
            "error: user `bob`: there is none of that name\nhint: `weir user list` shows all"
        );
        let missing = AdminError::Missing {
            what: "group",
            name: "My.scope".to_owned(),
            alike: vec!["my.scope".to_owned()],
        };
        assert!(
            failed("x", &missing)
                .to_string()
                .ends_with("case counts: there is the group `my.scope`, which is another one")
        );
    }

    /// The secret is found, or the failure has a hint. The content of the file is not shown.
    #[test]
    fn the_secret_is_found() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        assert_eq!(secret(&state).expect_err("absent").kind(), ErrorKind::NotFound);
        fs::create_dir_all(state.uaa()).expect("made");
        fs::write(state.client_secrets(), r#"{"admin":"s3cret","doppler":"x"}"#).expect("written");
        assert_eq!(secret(&state).expect("there"), "s3cret");
        fs::write(state.client_secrets(), r#"{"doppler":"hidden"}"#).expect("written");
        let failure = secret(&state).expect_err("none").to_string();
        assert!(
            failure.contains("write a secret for `admin`") && !failure.contains("hidden"),
            "{failure}"
        );
    }
}
