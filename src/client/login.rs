//! Who is logged in: tokens of a user, kept in the state directory (`login.json`, 0600) and refreshed when they need it.

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

/// A token with less to live than this is refreshed before it is handed out: it is going to be used for a while.
const ENOUGH: i64 = 300;

/// A login that was made here.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) access_token: String,
    pub(crate) refresh_token: Option<String>,
    /// Seconds since the Unix epoch.
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
    /// What UAA gave `user` just now. `claims` are those of the access token, which was checked.
    pub(crate) fn new(user: String, tokens: &Tokens, claims: &Claims) -> Self {
        Self {
            user,
            access_token: tokens.access_token.expose().clone(),
            refresh_token: tokens.refresh_token.as_ref().map(|token| token.expose().clone()),
            expires_at: claims.expires_at,
        }
    }

    /// Seconds for which the access token is still good.
    fn lasts(&self) -> i64 {
        self.expires_at - now()
    }

    /// Keeps it for the commands that follow.
    pub(crate) fn write(&self, state: &StateDir) -> Result<(), Failure> {
        let path = state.login();
        let text =
            serde_json::to_vec_pretty(self).map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        weir_files::replace(&path, &text, Readers::Owner).map_err(|error| Failure::file(&path, &error))
    }

    /// The login that is kept, if there is one.
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

    /// Forgets it; whether there was one.
    pub(crate) fn remove(state: &StateDir) -> Result<bool, Failure> {
        match fs::remove_file(state.login()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Failure::file(&state.login(), &error)),
        }
    }

    /// An access token that is good for a while; the new ones are kept, if it took a refresh.
    pub(crate) async fn token(self, state: &StateDir) -> Result<String, Failure> {
        if self.lasts() >= ENOUGH {
            return Ok(self.access_token);
        }
        match self.refreshed(state).await {
            Ok(fresh) => {
                fresh.write(state)?;
                Ok(fresh.access_token)
            }
            // UAA is away: what is left of the token is better than nothing.
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
        // The old one may count no more: whatever is wrong from here on, the new one must not be lost.
        if let Some(renewed) = tokens.refresh_token.as_ref().map(|token| token.expose()) {
            let kept = Self {
                refresh_token: Some(renewed.clone()),
                ..self.clone()
            };
            kept.write(state)?;
        }
        let claims = uaa::checked(&stack, &tokens).await?;
        let mut fresh = Self::new(self.user.clone(), &tokens, &claims);
        // It stays good unless a new one came.
        fresh.refresh_token.get_or_insert_with(|| refresh_token.clone());
        Ok(fresh)
    }
}

/// Most sources that are named one by one.
const NAMED: usize = 20;

/// What a user may read, in a few words. Which sources that are the token does not say: UAA is asked.
pub(crate) async fn reads(stack: &Stack, tokens: &Tokens, claims: &Claims) -> String {
    if granted(claims) == Scope::Everything {
        return "reads everything".to_owned();
    }
    let rights = match uaa::uaa(stack) {
        Ok(uaa) => uaa.with_token(&tokens.access_token).rights().await,
        Err(failure) => return format!("what that reads is not known: {}", failure.message()),
    };
    match rights {
        Ok(sources) => named(&sources),
        Err(error) => format!("what that reads is not known now: {error}"),
    }
}

fn named(sources: &[String]) -> String {
    if sources.is_empty() {
        return format!(
            "reads no logs: an operator gives access with `weir group add {} --user NAME`",
            source_scope("SOURCE")
        );
    }
    let shown = sources
        .iter()
        .take(NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    match sources.len() - sources.len().min(NAMED) {
        0 => format!("reads {shown}"),
        more => format!("reads {shown} and {more} others"),
    }
}

/// Seconds since the Unix epoch.
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

    /// Kept for the owner alone, read back, forgotten.
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

    /// A token with time left is handed out as it is; one that is over says what to do.
    #[tokio::test]
    async fn a_fresh_token_needs_nobody() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        assert_eq!(login(i64::MAX).token(&state).await.expect("fresh"), "access");
        let failure = login(1).token(&state).await.expect_err("over");
        assert_eq!(failure.kind(), ErrorKind::Unauthenticated);
        assert!(failure.to_string().contains("login --user alice"), "{failure}");
    }

    /// Few sources are named, many are counted.
    #[test]
    fn what_it_reads_is_said() {
        let sources = |count: usize| (0..count).map(|number| format!("app-{number}")).collect::<Vec<_>>();
        assert_eq!(named(&sources(2)), "reads app-0, app-1");
        assert!(named(&[]).contains("weir group add logs.read.SOURCE --user NAME"));
        let many = named(&sources(5000));
        assert!(many.ends_with("app-19 and 4980 others"), "{many}");
    }
}
