//! The password grant: a name and a password, or a one-time passcode in their place.

use http::StatusCode;
use serde_json::Value;

use super::Request;
use crate::http::error::ApiError;
use crate::login::OURS;
use crate::secrets;

impl Request<'_> {
    pub(super) async fn password(&self) -> Result<Value, ApiError> {
        if let Some(passcode) = self.form.filled("passcode") {
            return self.passcode(passcode).await;
        }
        self.check_origin()?;
        let user_name = self.form.required("username")?;
        let password = self.form.get("password").unwrap_or_default();
        let user = self.app.log_in(user_name, password).await?;
        self.user_tokens(&user, "password", self.app.now()).await
    }

    /// `login_hint={"origin":"…"}`: we know the passwords of our own users only.
    fn check_origin(&self) -> Result<(), ApiError> {
        let hint = self
            .query
            .filled("login_hint")
            .or_else(|| self.form.filled("login_hint"));
        let Some(hint) = hint else { return Ok(()) };
        let origin = serde_json::from_str::<Value>(hint).ok();
        let origin = origin.as_ref().and_then(|hint| hint["origin"].as_str());
        match origin {
            Some(OURS) => Ok(()),
            _ => Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "The origin provided in the login_hint has no passwords here",
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
        let user = self.app.store.user(&user_id).await?;
        if !self.app.store.take_passcode(&hash).await? {
            return Err(refused());
        }
        let user = user.filter(|user| user.active).ok_or_else(ApiError::bad_credentials)?;
        self.user_tokens(&user, "password", auth_time).await
    }
}
