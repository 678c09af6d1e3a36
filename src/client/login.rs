//! The login of a user: tokens in the state directory (`login.json`, 0600), refreshed before they expire.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};
use weir_auth::Scope;
use weir_auth::access::{granted, source_scope};
use weir_auth::claims::Claims;
use weir_error::{Classify as _, ErrorKind};
use weir_files::Readers;
use weir_service::clock;
use weir_uaa_client::Tokens;

use super::{Stack, uaa};
use crate::failure::Failure;
use crate::state::{StateDir, shell_quoted};

/// The seconds for which a token must still be valid when it is handed out. A token with less is refreshed first.
const MIN_VALIDITY: i64 = 300;

/// The tokens of a user who has logged in with `weir login`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    /// The end of the access token, in seconds since 1970.
    expires_at: i64,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Login")
            .field("user", &self.user)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl Login {
    /// Returns the login of `user` with new tokens. `claims` are the verified claims of the access token.
    pub(crate) fn new(user: String, tokens: &Tokens, claims: &Claims) -> Self {
        Self {
            user,
            access_token: tokens.access_token.expose().clone(),
            refresh_token: tokens.refresh_token.as_ref().map(|token| token.expose().clone()),
            expires_at: claims.expires_at,
        }
    }

    /// Returns the seconds for which the access token is still valid.
    fn lasts(&self) -> i64 {
        self.expires_at - now()
    }

    /// Writes the login for later commands.
    pub(crate) fn write(&self, state: &StateDir) -> Result<(), Failure> {
        let path = state.login();
        let text =
            serde_json::to_vec_pretty(self).map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        weir_files::replace(&path, &text, Readers::Owner).map_err(|error| Failure::file(&path, &error))
    }

    /// Reads the login, if there is one.
    pub(crate) fn read(state: &StateDir) -> Result<Option<Self>, Failure> {
        let path = state.login();
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| {
                Failure::new(ErrorKind::InvalidInput, format!("`{}`: {error}", path.display()))
                    .with_hint(format!("log in again with `weir{} login`", state.as_flag()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::file(&path, &error)),
        }
    }

    /// Removes the login. Returns `false` if there was none.
    pub(crate) fn remove(state: &StateDir) -> Result<bool, Failure> {
        match fs::remove_file(state.login()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Failure::file(&state.login(), &error)),
        }
    }

    /// Returns an access token that is valid for at least 5 minutes. New tokens are written if a refresh was needed.
    pub(crate) async fn token(self, state: &StateDir) -> Result<String, Failure> {
        if self.lasts() >= MIN_VALIDITY {
            return Ok(self.access_token);
        }
        match self.refreshed(state).await {
            Ok(fresh) => {
                fresh.write(state)?;
                Ok(fresh.access_token)
            }
            // UAA does not answer. The present token is valid for a shorter time, which is better than none.
            Err(failure) if self.lasts() > 0 && failure.kind() != ErrorKind::Unauthenticated => Ok(self.access_token),
            Err(failure) => Err(failure),
        }
    }

    async fn refreshed(&self, state: &StateDir) -> Result<Self, Failure> {
        let subject = format!("login of `{}`", self.user);
        let again = format!(
            "log in again with `weir{} login --user {}`, or use the operator's token after `weir logout`",
            state.as_flag(),
            shell_quoted(&self.user)
        );
        let Some(refresh_token) = &self.refresh_token else {
            let failure = Failure::new(ErrorKind::Unauthenticated, format!("{subject}: is over"));
            return Err(failure.with_hint(again));
        };
        let stack = Stack::find(state)?;
        let refreshed = uaa::uaa(&stack)?.refresh(uaa::CLIENT, "", refresh_token).await;
        let tokens = refreshed.map_err(|error| match error.kind() {
            ErrorKind::Unauthenticated | ErrorKind::InvalidInput => {
                let failure = uaa::failed(format_args!("{subject} is over"), &error);
                Failure::new(ErrorKind::Unauthenticated, failure.message()).with_hint(again)
            }
            _ => uaa::failed(subject, &error),
        })?;
        // With rotation, the old refresh token is revoked now. The new one must be written before anything else can fail.
        if let Some(renewed) = tokens.refresh_token.as_ref().map(|token| token.expose()) {
            let kept = Self {
                refresh_token: Some(renewed.clone()),
                ..self.clone()
            };
            kept.write(state)?;
        }
        let claims = uaa::checked(&stack, &tokens).await?;
        let mut fresh = Self::new(self.user.clone(), &tokens, &claims);
        // Without rotation, UAA returns no new refresh token, and the old one stays valid.
        fresh.refresh_token.get_or_insert_with(|| refresh_token.clone());
        Ok(fresh)
    }
}

/// The number of sources that are named.
const MAX_NAMED: usize = 20;

/// Returns what a user may read, in words. Tokens do not name sources, so UAA is asked for them.
pub(crate) async fn reads(stack: &Stack, tokens: &Tokens, claims: &Claims) -> String {
    if granted(claims) == Scope::Everything {
        return "reads everything".to_owned();
    }
    let rights = match uaa::uaa(stack) {
        Ok(uaa) => uaa.with_token(&tokens.access_token).rights().await,
        Err(failure) => return format!("what that reads is not known: {}", failure.message()),
    };
    match rights {
        Ok(sources) => sources_text(&sources),
        Err(error) => format!("what that reads is not known now: {error}"),
    }
}

fn sources_text(sources: &[String]) -> String {
    if sources.is_empty() {
        return format!(
            "reads no logs: an operator gives access with `weir group add {} --user NAME`",
            source_scope("SOURCE")
        );
    }
    let shown = sources
        .iter()
        .take(MAX_NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match sources.len() - sources.len().min(MAX_NAMED) {
        0 => format!("reads {shown}"),
        more => format!("reads {shown} and {more} others"),
    }
}

/// Returns the time in seconds since 1970.
fn now() -> i64 {
    clock::now_nanos() / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn login(expires_at: i64) -> Login {
        Login {
            user: "alice".to_owned(),
            access_token: "access".to_owned(),
            refresh_token: None,
            expires_at,
        }
    }

    /// A login is written for the owner only, read back, and removed.
    #[test]
    fn it_is_kept_and_private() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        assert_eq!(Login::read(&state).expect("none"), None);
        let login = login(i64::MAX);
        login.write(&state).expect("written");
        let mode = fs::metadata(state.login()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(
            !format!("{login:?}").contains("access\""),
            "no token in what may end up in a log"
        );
        assert_eq!(Login::read(&state).expect("read"), Some(login));
        assert!(Login::remove(&state).expect("removed"));
        assert!(!Login::remove(&state).expect("nothing there"));
    }

    /// A token that is valid for long is returned without a refresh, and an expired one without a refresh token fails with a hint.
    #[tokio::test]
    async fn a_valid_token_needs_no_refresh() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        assert_eq!(login(i64::MAX).token(&state).await.expect("fresh"), "access");
        let failure = login(1).token(&state).await.expect_err("over");
        assert_eq!(failure.kind(), ErrorKind::Unauthenticated);
        assert!(failure.to_string().contains("login --user alice"), "{failure}");
    }

    /// Few sources are named, and the rest of many is counted.
    #[test]
    fn what_it_reads_is_said() {
        let sources = |count: usize| (0..count).map(|number| format!("app-{number}")).collect::<Vec<_>>();
        assert_eq!(sources_text(&sources(2)), "reads app-0, app-1");
        assert!(sources_text(&[]).contains("weir group add logs.read.SOURCE --user NAME"));
        let many = sources_text(&sources(5000));
        assert!(many.ends_with("app-19 and 4980 others"), "{many}");
    }
}
