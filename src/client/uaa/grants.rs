//! Tokens: by a password, by a refresh token, by a client's secret.

use serde::{Deserialize, Serialize};
use weir_error::ErrorKind;
use weir_service::clock;

use super::{Uaa, Unanswered};
use crate::failure::Failure;

/// The client that this program is; its secret is the empty text, as that of the cf CLI's.
const CLIENT: &str = "weir";

/// What a grant gives.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    /// A client's own token has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
    /// Seconds since the Unix epoch.
    #[serde(default)]
    pub(crate) expires_at: i64,
    /// What it allows, by names between spaces.
    #[serde(default)]
    pub(crate) scope: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Tokens")
            .field("expires_at", &self.expires_at)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

/// UAA's answer as it is written.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    refresh_token: Option<String>,
    expires_in: i64,
    #[serde(default)]
    scope: String,
}

impl Tokens {
    /// Seconds for which the access token is still good.
    pub(crate) fn lasts(&self) -> i64 {
        self.expires_at - now()
    }
}

impl Uaa {
    /// The tokens of a user.
    pub(crate) async fn password(&self, user: &str, password: &str) -> Result<Tokens, Unanswered> {
        self.grant(&[
            ("grant_type", "password"),
            ("client_id", CLIENT),
            ("client_secret", ""),
            ("username", user),
            ("password", password),
        ])
        .await
    }

    /// The next tokens of a user who has logged in before.
    pub(crate) async fn refresh(&self, refresh_token: &str) -> Result<Tokens, Unanswered> {
        let mut tokens = self
            .grant(&[
                ("grant_type", "refresh_token"),
                ("client_id", CLIENT),
                ("client_secret", ""),
                ("refresh_token", refresh_token),
            ])
            .await?;
        // It stays good unless a new one came.
        tokens.refresh_token.get_or_insert_with(|| refresh_token.to_owned());
        Ok(tokens)
    }

    /// A client's own token.
    pub(crate) async fn client_credentials(&self, id: &str, secret: &str) -> Result<Tokens, Unanswered> {
        self.grant(&[
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", secret),
        ])
        .await
    }

    async fn grant(&self, fields: &[(&str, &str)]) -> Result<Tokens, Unanswered> {
        let asked = now();
        let answer = self.form("/oauth/token", fields).await?;
        let answer: Answer = serde_json::from_value(answer).map_err(|_| {
            let text = format!("UAA at `{}`: its answer has no token", self.url());
            Failure::new(ErrorKind::Internal, text)
        })?;
        Ok(Tokens {
            access_token: answer.access_token,
            refresh_token: answer.refresh_token,
            expires_at: asked.saturating_add(answer.expires_in),
            scope: answer.scope,
        })
    }
}

/// Seconds since the Unix epoch.
fn now() -> i64 {
    clock::now_nanos() / 1_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing secret is in what may end up in a log.
    #[test]
    fn tokens_are_not_shown() {
        let tokens = Tokens {
            access_token: "secret-a".to_owned(),
            refresh_token: Some("secret-r".to_owned()),
            expires_at: now() + 100,
            scope: "openid".to_owned(),
        };
        assert!(!format!("{tokens:?}").contains("secret"));
        assert!((98..=100).contains(&tokens.lasts()));
    }
}
