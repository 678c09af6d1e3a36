//! The claims of a token whose signature is valid.

use std::collections::BTreeSet;

use serde::Deserialize;
use weir_jose::Audience;

/// The claims of a token that servers use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Claims {
    /// The id of the token.
    pub jti: String,
    /// The user's id. `None` in a token that a client got for itself.
    pub user_id: Option<String>,
    /// The user's name, for logs.
    pub user_name: Option<String>,
    /// The client that the token was issued to.
    pub client_id: String,
    /// When the token was issued, in seconds since the Unix epoch. A token without this claim has the smallest value,
    /// so that every revocation covers it.
    pub issued_at: i64,
    /// When the token expires, in seconds since the Unix epoch.
    pub expires_at: i64,
    /// UAA's digest of the password and the secret on which the token rests. It changes when they change.
    pub rev_sig: Option<String>,
    pub(crate) scopes: BTreeSet<String>,
}

impl Claims {
    /// Whether the token has exactly this scope.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }

    /// All scopes of the token.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().map(String::as_str)
    }

    /// The id of the user or client that the token stands for; see [`Caller::id`](crate::Caller::id).
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

/// The claims as they stand in a token. Unknown claims are ignored. A known claim that stands there twice is an error.
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
    /// Whether this is a refresh token, which gives no access. UAA marks one by the end of its id.
    pub(crate) fn is_refresh_token(&self) -> bool {
        self.jti.ends_with("-r")
    }

    /// The claims, or `None` if they do not say whose token it is.
    pub(crate) fn into_claims(self) -> Option<Claims> {
        // UAA writes the client's id under both names.
        let client_id = self.client_id.or(self.cid).filter(|id| !id.is_empty())?;
        if self.jti.is_empty() || self.user_id.as_deref() == Some("") {
            return None;
        }
        Some(Claims {
            jti: self.jti,
            user_id: self.user_id,
            user_name: self.user_name,
            client_id,
            // See `Claims::issued_at`.
            issued_at: self.iat.unwrap_or(i64::MIN),
            expires_at: self.exp,
            rev_sig: self.rev_sig,
            scopes: self.scope,
        })
    }
}

/// Whether a token for `audience` is meant for one of `accepted`. The accepted name `logs` also stands for `logs.read`
/// and every other name that begins with `logs.`.
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

    /// An accepted audience is met by its own name and by names below it.
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
