//! What a token says, once its signature was found to be good.

use std::collections::BTreeSet;

use serde::Deserialize;
use weir_jose::Audience;

/// The claims of a token that somebody acts upon.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// The token's own name.
    pub jti: String,
    /// The user's id; `None` in a client's own token.
    pub user_id: Option<String>,
    /// The user's name, for logs.
    pub user_name: Option<String>,
    /// The client that the token was issued to.
    pub client_id: String,
    /// Seconds since the Unix epoch. A token that does not say is as old as can be, so that every revocation covers it.
    pub issued_at: i64,
    /// Seconds since the Unix epoch.
    pub expires_at: i64,
    /// UAA's digest of what the token rests on (password, secret); it changes with them.
    pub rev_sig: Option<String>,
    pub(crate) scopes: BTreeSet<String>,
}

impl Claims {
    /// Whether the token has exactly this scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }

    /// All its scopes.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().map(String::as_str)
    }

    /// Who it stands for, the same in all tokens of one user or client.
    #[must_use]
    pub fn subject(&self) -> String {
        match &self.user_id {
            Some(user) => format!("user:{user}"),
            None => format!("client:{}", self.client_id),
        }
    }

    pub(crate) fn display_name(&self) -> &str {
        match (&self.user_name, &self.user_id) {
            (Some(name), _) => name,
            (None, Some(id)) => id,
            (None, None) => &self.client_id,
        }
    }

    #[cfg(test)]
    pub(crate) fn with_scopes<'s>(scopes: impl Iterator<Item = &'s str>) -> Self {
        Self {
            scopes: scopes.map(str::to_owned).collect(),
            ..Self::default()
        }
    }
}

/// The claims as they are written. Names that we do not know are ignored; one that we know may stand there once only.
#[derive(Debug, Deserialize)]
pub(crate) struct Payload {
    pub(crate) iss: String,
    pub(crate) aud: Audience,
    pub(crate) exp: i64,
    pub(crate) nbf: Option<i64>,
    pub(crate) iat: Option<i64>,
    jti: String,
    user_id: Option<String>,
    user_name: Option<String>,
    client_id: Option<String>,
    cid: Option<String>,
    rev_sig: Option<String>,
    #[serde(default)]
    scope: BTreeSet<String>,
}

impl Payload {
    /// Whether this is a refresh token, which opens nothing.
    pub(crate) fn is_refresh_token(&self) -> bool {
        self.jti.ends_with("-r")
    }

    /// The claims; `None` if it does not say whose token it is.
    pub(crate) fn into_claims(self) -> Option<Claims> {
        let client_id = self.client_id.or(self.cid).filter(|id| !id.is_empty())?;
        if self.jti.is_empty() || self.user_id.as_deref() == Some("") {
            return None;
        }
        Some(Claims {
            jti: self.jti,
            user_id: self.user_id,
            user_name: self.user_name,
            client_id,
            issued_at: self.iat.unwrap_or(i64::MIN),
            expires_at: self.exp,
            rev_sig: self.rev_sig,
            scopes: self.scope,
        })
    }
}

/// Whether a token for `audience` is meant for one of `accepted`; `logs` also stands for `logs.read` and all else below it.
pub(crate) fn meets(audience: &Audience, accepted: &[String]) -> bool {
    let below = |name: &str, accepted: &str| {
        name.strip_prefix(accepted)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    audience
        .iter()
        .any(|name| accepted.iter().any(|accepted| below(name, accepted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An audience is met by its own name and by what is below it.
    #[test]
    fn audiences_meet() {
        let accepted = ["logs".to_owned(), "doppler".to_owned()];
        for (json, meets) in [
            (r#""logs""#, true),
            (r#"["cf","logs.read.x"]"#, true),
            (r#"["doppler"]"#, true),
            (r#"["logsx","dopple","uaa","logs-read"]"#, false),
            (r#"[""]"#, false),
            ("[]", false),
        ] {
            let audience: Audience = serde_json::from_str(json).unwrap();
            assert_eq!(super::meets(&audience, &accepted), meets, "{json}");
        }
    }
}
