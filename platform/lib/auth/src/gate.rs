//! The authorizer of a component: it accepts the operator's token file, UAA's tokens, or both.
//!
//! With both, the token of the file still allows everything. It is meant for the operator of the machine, who can read
//! every file of the stack anyway, and it works while UAA does not. A component that must not accept it is configured
//! without `token_file`.

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;
use weir_error::{Classify, ErrorKind};
use weir_service::Context;
use weir_tls::{IdentityFiles, TlsError};

use crate::issuer::Issuer;
use crate::rights::ByRights;
use crate::{Authorizer, Caller, Denied, HttpsIssuer, StaticToken, TokenError, UaaConfig, Verdict, Verifier};

/// Accepts every caller that one of its authorizers accepts.
#[derive(Debug)]
pub struct Gate {
    local: Option<StaticToken>,
    uaa: Option<Arc<Verifier>>,
}

/// Why a gate cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The token file cannot be used.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The CA of UAA's certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The configuration names no authorizer, so that every caller would be refused.
    #[error("neither `token_file` nor `uaa.url` is set: every caller would be refused")]
    Closed,
}

impl Classify for OpenError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Token(error) => error.kind(),
            Self::Tls(error) => error.kind(),
            Self::Closed => ErrorKind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Token(error) => error.hint(),
            Self::Tls(error) => error.hint(),
            Self::Closed => Some("set `uaa.url` and `uaa.ca`, or `token_file`".to_owned()),
        }
    }
}

impl Gate {
    /// A gate with these authorizers.
    #[must_use]
    pub const fn new(local: Option<StaticToken>, uaa: Option<Arc<Verifier>>) -> Self {
        Self { local, uaa }
    }

    /// The gate of a component. `token_file` may be empty or `uaa` absent, but not both. The component shows the
    /// certificate of `identity` to its stack's UAA. The tasks of the gate run until the component stops.
    ///
    /// # Errors
    /// When the token file, the CA or the identity cannot be used, or no authorizer is configured.
    pub fn open(
        token_file: &Path,
        uaa: Option<&UaaConfig>,
        identity: &IdentityFiles,
        context: &Context,
    ) -> Result<Arc<Self>, OpenError> {
        let has_file = !token_file.as_os_str().is_empty();
        if !has_file && uaa.is_none() {
            return Err(OpenError::Closed);
        }
        let local = has_file.then(|| StaticToken::from_file(token_file)).transpose()?;
        let verifier = |config: &UaaConfig| {
            let issuer: Arc<dyn Issuer> = Arc::new(HttpsIssuer::known_as(identity, config)?);
            Ok::<_, TlsError>(Verifier::start(
                config,
                Arc::clone(&issuer),
                Arc::new(ByRights::new(issuer, context.clock.clone())),
                context.clock.clone(),
                &context.shutdown,
                &context.tasks,
            ))
        };
        let uaa = uaa.map(verifier).transpose()?;
        Ok(Arc::new(Self::new(local, uaa)))
    }

    /// The verifier of UAA's tokens, for its statistics.
    #[must_use]
    pub const fn verifier(&self) -> Option<&Arc<Verifier>> {
        self.uaa.as_ref()
    }

    async fn check(&self, token: Option<&str>) -> Result<Caller, Denied> {
        // The token of the file is checked first, because that needs no network. The refusal of UAA's verifier is the
        // one that is reported, because it is more precise.
        let local = self.local.as_ref().map(|local| local.check(token));
        match (local, &self.uaa) {
            (Some(Ok(caller)), _) => Ok(caller),
            (_, Some(uaa)) => uaa.check(token).await,
            (Some(denied), None) => denied,
            (None, None) => Err(Denied::Invalid),
        }
    }
}

impl Authorizer for Gate {
    fn caller<'a>(&'a self, token: Option<&'a str>) -> Verdict<'a> {
        Box::pin(self.check(token))
    }
}
