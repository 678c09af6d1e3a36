//! Checks one token: for a program that was given it just now and is going to use it, such as a command line.
//!
//! The same rules as a [`Verifier`](crate::Verifier)'s, with keys that are fetched for this once and without
//! revocations: a token that is minutes old in the feed of those is looked at where it is shown.

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_jose::Flaw;
use weir_service::Clock;

use crate::UaaConfig;
use crate::claims::Claims;
use crate::issuer::{Issuer, IssuerError};
use crate::jwt::Shown;
use crate::rules::Rules;

/// The token is of no use, or nobody can say.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OnceError {
    /// The issuer's keys cannot be had.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// It is not a token of this issuer's that is good now. The text does not repeat it.
    #[error("the token that UAA gave does not count: {reason}")]
    Token {
        /// What is wrong with it.
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
            Self::Token { .. } => Some("is this the UAA that you mean, and is this machine's clock right?".to_owned()),
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

/// What a token says, if it is good: its signature, times, issuer and audience.
///
/// # Errors
/// When it is not good, or the issuer does not say which keys it signs with.
pub async fn check_once(
    config: &UaaConfig,
    issuer: &dyn Issuer,
    clock: &Clock,
    token: &str,
) -> Result<Claims, OnceError> {
    let shown = Shown::parse(token)?;
    let keys = issuer.keys().await?;
    let key = keys.get(&shown.key_id).ok_or(Flaw::UnknownKey)?;
    let now = clock.now_nanos().div_euclid(1_000_000_000);
    Ok(Rules::of(config).open(&shown.jwt, key, now)?)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::TestIssuer;

    async fn check(issuer: &TestIssuer, token: &str) -> Result<Claims, OnceError> {
        check_once(&issuer.config(), issuer, &Clock::system(), token).await
    }

    /// A good token's claims are given; it takes the issuer's own signature.
    #[tokio::test]
    async fn good_tokens_count() {
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

    /// What is wrong is said, without the token.
    #[tokio::test]
    async fn flaws_are_said() {
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
                format!("the token that UAA gave does not count: {reason}")
            );
        }
    }

    /// An issuer that is away makes no token bad.
    #[tokio::test]
    async fn nobody_can_say() {
        let issuer = TestIssuer::new();
        let token = issuer.token("alice", &[]);
        issuer.set_away(true);
        let error = check(&issuer, &token).await.expect_err("away");
        assert_eq!((error.kind(), error.retryable()), (ErrorKind::Unavailable, true));
    }
}
