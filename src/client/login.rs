//! Who is logged in: tokens of a user, kept in the state directory (`login.json`, 0600) and refreshed when they need it.

use std::fs;
use std::io;

use http::StatusCode;
use serde::{Deserialize, Serialize};
use weir_error::ErrorKind;

use super::Stack;
use super::uaa::{Tokens, Uaa};
use crate::failure::Failure;
use crate::state::{StateDir, shell_quoted, write_atomically};

/// A token with less to live than this is refreshed before it is handed out: it is going to be used for a while.
const ENOUGH: i64 = 300;
/// Scopes that read everything.
const EVERYTHING: [&str; 2] = ["doppler.firehose", "logs.admin"];
/// What a scope that reads one source begins with.
const ONE_SOURCE: &str = "logs.read.";

/// A login that was made here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Login {
    pub(crate) user: String,
    #[serde(flatten)]
    pub(crate) tokens: Tokens,
}

impl Login {
    /// Keeps it for the commands that follow.
    pub(crate) fn write(&self, state: &StateDir) -> Result<(), Failure> {
        let path = state.login();
        let text =
            serde_json::to_vec_pretty(self).map_err(|error| Failure::new(ErrorKind::Internal, error.to_string()))?;
        write_atomically(&path, &text, true).map_err(|error| Failure::file(&path, &error))
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
    pub(crate) async fn token(mut self, state: &StateDir) -> Result<String, Failure> {
        if self.tokens.lasts() >= ENOUGH {
            return Ok(self.tokens.access_token);
        }
        match self.refreshed(state).await {
            Ok(tokens) => {
                self.tokens = tokens;
                self.write(state)?;
                Ok(self.tokens.access_token)
            }
            // UAA is away: what is left of the token is better than nothing.
            Err(failure) if self.tokens.lasts() > 0 && failure.kind() != ErrorKind::Unauthenticated => {
                Ok(self.tokens.access_token)
            }
            Err(failure) => Err(failure),
        }
    }

    async fn refreshed(&self, state: &StateDir) -> Result<Tokens, Failure> {
        let subject = format!("login of `{}`", self.user);
        let again = format!(
            "log in again with `weir{} login --user {}`, or use the operator's token after `weir logout`",
            state.as_flag(),
            shell_quoted(&self.user)
        );
        let Some(refresh_token) = &self.tokens.refresh_token else {
            let failure = Failure::new(ErrorKind::Unauthenticated, format!("{subject}: is over"));
            return Err(failure.with_hint(again));
        };
        let uaa = Uaa::of(&Stack::find(state)?)?;
        uaa.refresh(refresh_token).await.map_err(|unanswered| {
            let over = matches!(
                unanswered.status(),
                Some(StatusCode::UNAUTHORIZED | StatusCode::BAD_REQUEST)
            );
            if over {
                Failure::new(
                    ErrorKind::Unauthenticated,
                    unanswered.of(format_args!("{subject} is over")).message(),
                )
                .with_hint(again)
            } else {
                unanswered.of(subject)
            }
        })
    }

    /// What it may read, in a few words.
    pub(crate) fn reads(&self) -> String {
        let scopes = || self.tokens.scope.split_whitespace();
        if scopes().any(|scope| EVERYTHING.contains(&scope)) {
            return "reads everything".to_owned();
        }
        let sources: Vec<&str> = scopes().filter_map(|scope| scope.strip_prefix(ONE_SOURCE)).collect();
        if sources.is_empty() {
            format!("reads no logs: an operator gives access with `weir group add {ONE_SOURCE}SOURCE --user NAME`")
        } else {
            format!("reads {}", sources.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn login(scope: &str, expires_at: i64) -> Login {
        Login {
            user: "alice".to_owned(),
            tokens: Tokens {
                access_token: "access".to_owned(),
                refresh_token: None,
                expires_at,
                scope: scope.to_owned(),
            },
        }
    }

    /// Kept for the owner alone, read back, forgotten.
    #[test]
    fn it_is_kept_and_private() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        assert_eq!(Login::read(&state).expect("none"), None);
        let login = login("openid", i64::MAX);
        login.write(&state).expect("written");
        let mode = fs::metadata(state.login()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(Login::read(&state).expect("read"), Some(login));
        assert!(Login::remove(&state).expect("removed"));
        assert!(!Login::remove(&state).expect("nothing there"));
    }

    /// A token with time left is handed out as it is; one that is over says what to do.
    #[tokio::test]
    async fn a_fresh_token_needs_nobody() {
        let base = tempfile::tempdir().expect("temporary directory");
        let state = StateDir::at(base.path()).expect("absolute");
        assert_eq!(login("", i64::MAX).token(&state).await.expect("fresh"), "access");
        let failure = login("", 1).token(&state).await.expect_err("over");
        assert_eq!(failure.kind(), ErrorKind::Unauthenticated);
        assert!(failure.to_string().contains("login --user alice"), "{failure}");
    }

    #[test]
    fn what_it_reads_is_said() {
        let reads = |scope: &str| login(scope, 0).reads();
        assert_eq!(reads("openid logs.read.web logs.read.a.b"), "reads web, a.b");
        assert_eq!(reads("logs.read.web logs.admin"), "reads everything");
        assert!(reads("openid").contains("weir group add"));
    }
}
