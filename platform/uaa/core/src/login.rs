//! A name and a password: the one way to check them, for tokens and for browsers.
//!
//! A name that does not exist costs what one that does costs: the same look-ups, a hash of the same kind, the same count
//! of failures and the same lock, kept by a digest of the name.

use weir_platform_uaa_store::{User, secrets};

use crate::app::App;
use crate::refusal::Refusal;

/// The origin of users whose password we know.
pub const OURS: &str = "uaa";

/// Longest name that is looked at, in bytes.
const LONGEST: usize = 255;

/// Longest password that is looked at, in bytes.
const LONGEST_PASSWORD: usize = 1024;

/// Longest password that somebody may choose, in bytes.
const LONGEST_NEW_PASSWORD: usize = 255;

/// Under what a name's failures are counted.
pub fn principal(origin: &str, user_name: &str) -> String {
    secrets::digest_of(&[origin, &user_name.to_lowercase()])
}

impl App {
    /// The user with this name and password.
    pub async fn log_in(&self, user_name: &str, password: &str) -> Result<User, Refusal> {
        if user_name.is_empty() || user_name.len() > LONGEST || password.len() > LONGEST_PASSWORD {
            return Err(Refusal::BadCredentials);
        }
        let principal = principal(OURS, user_name);
        let Some(_turn) = self.callers.take(&principal).await else {
            self.metrics.login("busy");
            return Err(Refusal::TooManyAttempts);
        };
        let failures = self.store.failures(&principal).await?;
        if failures.locked_until > self.store.now() {
            self.metrics.login("locked");
            return Err(Refusal::Locked);
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
                if failures != weir_platform_uaa_store::Failures::default() {
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
                weir_service::limited!(info, weir_service::EACH_SECOND, user = known, "a login failed");
                if locks {
                    weir_service::limited!(
                        warn,
                        weir_service::EACH_SECOND,
                        user = known,
                        "a user name is locked after repeated failures"
                    );
                }
                Err(Refusal::BadCredentials)
            }
        }
    }

    /// Checks the present password of a user who has a token: counted as a login, so that a stolen token is no way to guess
    /// passwords.
    pub async fn check_password(&self, user: &User, password: &str) -> Result<(), Refusal> {
        let principal = principal(OURS, &user.user_name);
        let Some(_turn) = self.callers.take(&principal).await else {
            return Err(Refusal::TooManyAttempts);
        };
        if self.store.failures(&principal).await?.locked_until > self.store.now() {
            return Err(Refusal::Locked);
        }
        if !self.hasher.verify(user.password_hash.as_deref(), password).await? {
            self.store.count_failure(&principal, self.config.lockout).await?;
            return Err(Refusal::BadCredentials);
        }
        Ok(())
    }

    /// Gives a user another password, which ends all of the user's tokens and sessions.
    pub async fn change_password(&self, user: &User, password: &str) -> Result<(), Refusal> {
        self.check_policy(password)?;
        let present = user.password_hash.as_deref();
        if present.is_some() && self.hasher.verify(present, password).await? {
            return Err(Refusal::SamePassword);
        }
        let hash = self.hasher.hash(password).await?;
        if !self.store.set_password(user, &hash).await? {
            return Err(Refusal::Overtaken);
        }
        self.revoked.catch_up().await;
        Ok(())
    }

    /// Checks that a password may be one.
    pub fn check_policy(&self, password: &str) -> Result<(), Refusal> {
        let shortest = self.config.shortest_password;
        if password.chars().count() < shortest {
            let problem = format!("Password must be at least {shortest} characters in length.");
            return Err(Refusal::Policy(problem));
        }
        if password.len() > LONGEST_NEW_PASSWORD {
            let problem = format!("Password must be no more than {LONGEST_NEW_PASSWORD} bytes in length.");
            return Err(Refusal::Policy(problem));
        }
        Ok(())
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
