//! Checks one token, for a program that has just got it and is going to use it, such as a command line client.
//!
//! The rules are those of a [`Verifier`](crate::Verifier), with keys that are fetched for this check. Revocations are
//! not read: the server that is shown the token checks them.

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_jose::Flaw;
use weir_service::Clock;

use crate::UaaConfig;
use crate::claims::Claims;
use crate::issuer::{Issuer, IssuerError};
use crate::jwt::ParsedToken;
use crate::rules::Rules;

/// Why the check of a token failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OnceError {
    /// The issuer's keys could not be fetched.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The token is not a valid token of this issuer. The text does not repeat the token.
    #[error("the token that UAA issued is not valid: {reason}")]
    Token {
        /// What is wrong with the token.
        reason: String,
    },
}

impl Classify for OnceError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Issuer(error) => error.kind(),
            Self::Token { .. } => ErrorKind::Unauthenticated,
        }
    }

    fn retryable(&self) -> bool {
        matches!(self, Self::Issuer(error) if error.retryable())
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Issuer(error) => error.hint(),
            Self::Token { .. } => Some("check the address of UAA, and this machine's clock".to_owned()),
        }
    }
}

impl From<Flaw> for OnceError {
    fn from(flaw: Flaw) -> Self {
        Self::Token {
            reason: flaw.to_string(),
        }
    }
}

/// The claims of a token, if its signature, times, issuer and audience are right.
///
/// # Errors
/// When the token is not valid, or the issuer's keys cannot be fetched.
pub async fn check_once(
    config: &UaaConfig,
    issuer: &dyn Issuer,
    clock: &Clock,
    token: &str,
) -> Result<Claims, OnceError> {
    let parsed = ParsedToken::parse(token)?;
    let keys = issuer.keys().await?;
    let key = keys.get(&parsed.key_id).ok_or(Flaw::UnknownKey)?;
    let now = clock.now_nanos().div_euclid(1_000_000_000);
    Ok(Rules::of(config).open(&parsed.jwt, key, now)?)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::TestIssuer;

    async fn check(issuer: &TestIssuer, token: &str) -> Result<Claims, OnceError> {
        check_once(&issuer.config(), issuer, &Clock::system(), token).await
    }

    /// The claims of a valid token are returned. A token with another token's signature is refused.
    #[tokio::test]
    async fn a_valid_token_is_accepted() {
        let issuer = TestIssuer::new();
        let token = issuer.token("alice", &["logs.read.web"]);
        let claims = check(&issuer, &token).await.expect("good");
        assert_eq!(claims.user_name.as_deref(), Some("alice"));
        assert!(claims.has_scope("logs.read.web"));

        let other = issuer.token("alice", &["logs.admin"]);
        let (claims, signature) = (other.rsplit_once('.'), token.rsplit_once('.'));
        let forged = format!("{}.{}", claims.expect("parts").0, signature.expect("parts").1);
        let forged = check(&issuer, &forged).await.expect_err("forged");
        assert_eq!(forged.kind(), ErrorKind::Unauthenticated);
        assert!(forged.to_string().ends_with("its signature is wrong"), "{forged}");
    }

    /// The error says what is wrong with a token, and does not contain the token.
    #[tokio::test]
    async fn flaws_are_reported() {
        let issuer = TestIssuer::new();
        let with = |change: fn(&mut Value)| {
            let mut claims = issuer.claims("alice", &["logs.read.web"]);
            change(&mut claims);
            issuer.sign(&claims)
        };
        for (token, reason) in [
            (with(|claims| claims["exp"] = json!(1)), "it has expired"),
            (
                with(|claims| claims["iss"] = json!("https://else")),
                "it was issued by somebody else",
            ),
            (
                with(|claims| claims["aud"] = json!(["else"])),
                "it is meant for somebody else",
            ),
            ("secret".to_owned(), "it does not have three parts"),
        ] {
            let error = check(&issuer, &token).await.expect_err(reason);
            assert_eq!(
                error.to_string(),
                format!("the token that UAA issued is not valid: {reason}")
            );
        }
    }

    /// While the issuer is unreachable, the check fails with an error that can be retried.
    #[tokio::test]
    async fn an_unreachable_issuer_is_reported() {
        let issuer = TestIssuer::new();
        let token = issuer.token("alice", &[]);
        issuer.set_away(true);
        let error = check(&issuer, &token).await.expect_err("away");
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, true));
    }
}
