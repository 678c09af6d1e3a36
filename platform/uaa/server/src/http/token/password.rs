//! The password grant: a user name and a password, or a one-time passcode in place of both.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use weir_platform_uaa_core::login::UAA_ORIGIN;
use weir_platform_uaa_store::secrets;

use super::{Login, Request};
use crate::http::error::ApiError;
use crate::http::form;

/// The parameter `login_hint`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    origin: Option<String>,
}

impl Hint {
    /// Parses the hint, which may be escaped twice, as the original accepts it.
    fn read(text: &str) -> Option<Self> {
        let plain = |text: &str| serde_json::from_str::<Self>(text).ok();
        plain(text).or_else(|| plain(&form::decode(text.as_bytes()).ok()?))
    }
}

impl Request<'_> {
    pub(super) async fn password(&self) -> Result<Value, ApiError> {
        if let Some(passcode) = self.form.filled("passcode") {
            return self.passcode(passcode).await;
        }
        self.check_origin()?;
        let user_name = self.form.required("username")?;
        let password = self.form.get("password").unwrap_or_default();
        let user = self.app.log_in(user_name, password).await?;
        self.user_tokens(&Login::by_password(user, self.app.now())).await
    }

    /// Refuses `login_hint={"origin":"…"}` of another origin, whose passwords this UAA cannot check. Other forms are ignored, as in
    /// the original: OpenID Connect puts user names into this parameter.
    fn check_origin(&self) -> Result<(), ApiError> {
        let hint = self
            .query
            .filled("login_hint")
            .or_else(|| self.form.filled("login_hint"));
        match hint.and_then(Hint::read) {
            None => Ok(()),
            Some(Hint { origin: Some(origin) }) if origin == UAA_ORIGIN => Ok(()),
            Some(_) => Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "The origin provided in the login_hint does not match an active Identity Provider, that supports \
                 password grant.",
            )),
        }
    }

    async fn passcode(&self, passcode: &str) -> Result<Value, ApiError> {
        let hash = secrets::digest(passcode);
        let refused = || {
            self.app.metrics.login("failed");
            ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "Invalid passcode")
        };
        let (user_id, auth_time) = self.app.store.passcode(&hash).await?.ok_or_else(refused)?;
        // Read before the passcode is taken, so that a revocation in between is noticed. `take_passcode` deletes the row: of two
        // concurrent requests, one gets tokens.
        let user = self.app.store.user(&user_id).await?;
        if !self.app.store.take_passcode(&hash).await? {
            return Err(refused());
        }
        let user = user.filter(|user| user.active).ok_or_else(ApiError::bad_credentials)?;
        self.user_tokens(&Login::by_password(user, auth_time)).await
    }
}
