//! A name and a password: the one way to check them, for tokens and for browsers.
//!
//! A name that does not exist costs what one that does costs: the same look-ups, a hash of the same kind, the same count
//! of failures and the same lock, kept by a digest of the name.

use crate::app::App;
use crate::http::ApiError;
use crate::secrets;
use crate::store::User;

/// The origin of users whose password we know.
pub(crate) const OURS: &str = "uaa";

/// Longest name and password that are looked at.
const LONGEST: usize = 255;
const LONGEST_PASSWORD: usize = 1024;

/// Under what a name's failures are counted.
pub(crate) fn principal(origin: &str, user_name: &str) -> String {
    secrets::digest_of(&[origin, &user_name.to_lowercase()])
}

impl App {
    /// The user with this name and password.
    pub(crate) async fn log_in(&self, user_name: &str, password: &str) -> Result<User, ApiError> {
        if user_name.is_empty() || user_name.len() > LONGEST || password.len() > LONGEST_PASSWORD {
            return Err(ApiError::bad_credentials());
        }
        let principal = principal(OURS, user_name);
        let Some(_turn) = self.callers.take(&principal).await else {
            self.metrics.login("busy");
            return Err(ApiError::too_many(std::time::Duration::from_secs(1)));
        };
        let failures = self.store.failures(&principal).await?;
        if failures.locked_until > self.store.now() {
            self.metrics.login("locked");
            return Err(ApiError::locked());
        }
        let user = self.store.user_by_name(OURS, user_name).await?;
        let hash = user.as_ref().and_then(|user| user.password_hash.as_deref());
        let right = self
            .hasher
            .verify(hash, password)
            .await
            .inspect_err(|_| self.metrics.login("busy"))?;
        match user {
            Some(user) if right && user.active => {
                if failures != crate::store::Failures::default() {
                    self.store.forget_failures(&principal).await?;
                }
                self.refresh_hash(&user, password).await;
                self.store.logged_on(&user.id).await?;
                self.metrics.login("ok");
                tracing::info!(user = user.id, "a user has logged in");
                Ok(user)
            }
            user => {
                // The name itself may be a password in the wrong field.
                let known = user.map_or_else(|| "unknown".to_owned(), |user| user.id);
                let locks = self.store.count_failure(&principal, self.config.lockout).await?;
                self.metrics.login("failed");
                weir_telemetry::limited!(info, weir_telemetry::EACH_SECOND, user = known, "a login failed");
                if locks {
                    weir_telemetry::limited!(
                        warn,
                        weir_telemetry::EACH_SECOND,
                        user = known,
                        "a user name is locked after repeated failures"
                    );
                }
                Err(ApiError::bad_credentials())
            }
        }
    }

    /// Hashes a password anew that was hashed when other parameters counted. What goes wrong can wait for the next login.
    async fn refresh_hash(&self, user: &User, password: &str) {
        let Some(old) = user
            .password_hash
            .as_deref()
            .filter(|hash| self.hasher.is_outdated(hash))
        else {
            return;
        };
        let Ok(fresh) = self.hasher.hash(password).await else {
            return;
        };
        if let Err(error) = self.store.replace_hash(&user.id, old, &fresh).await {
            tracing::warn!(error = weir_error::chain(&error), "a password cannot be hashed anew");
        }
    }
}
