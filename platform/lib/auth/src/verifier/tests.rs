//! Valid and invalid tokens, and how their validity changes over time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};
use weir_eventually::eventually;
use weir_service::{Context, Trigger};

use super::*;
use crate::access::ByGroups;
use crate::revocation::Revoked;
use crate::testing::{TestIssuer, kid};
use crate::{Ended, Scope};

mod attacks;
mod life;

struct Setup {
    issuer: Arc<TestIssuer>,
    verifier: Arc<Verifier>,
    _trigger: Trigger,
}

impl Setup {
    fn new() -> Self {
        let (trigger, context) = Context::new("server");
        let issuer = TestIssuer::new();
        let verifier = issuer.verifier(&context.shutdown, &context.tasks);
        Self {
            issuer,
            verifier,
            _trigger: trigger,
        }
    }

    async fn check(&self, token: &str) -> Result<Caller, Denied> {
        self.verifier.check(Some(token)).await
    }

    async fn denied(&self, token: &str) -> Denied {
        self.check(token).await.expect_err("it must be refused")
    }

    /// The result for a token of an admin whose claims were changed.
    async fn with(&self, change: impl FnOnce(&mut Value)) -> Result<Caller, Denied> {
        let mut claims = self.issuer.claims("admin", &["doppler.firehose"]);
        change(&mut claims);
        self.check(&self.issuer.sign(&claims)).await
    }
}

fn now() -> i64 {
    weir_service::clock::now_nanos() / 1_000_000_000
}
