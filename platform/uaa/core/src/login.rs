//! Checks user names and passwords, for tokens and for browsers.
//!
//! A caller cannot find out whether a name exists: an unknown name takes the look-ups and the hash of a known one, its failures
//! are counted, and it is locked after as many. Failures are stored under a digest of the name.

use weir_platform_uaa_store::{User, secrets};

use crate::app::App;
use crate::refusal::Refusal;

/// The origin of users whose password is stored in this UAA.
pub const UAA_ORIGIN: &str = "uaa";

/// The longest user name that is looked up, in bytes.
const LONGEST: usize = 255;

/// The longest password that is hashed for a check, in bytes.
const LONGEST_PASSWORD: usize = 1024;

/// The longest password that a user may set, in bytes.
const LONGEST_NEW_PASSWORD: usize = 255;

/// Returns the key under which failed logins of a user name are counted.
pub fn principal(origin: &str, user_name: &str) -> String {
    secrets::digest_of(&[origin, &user_name.to_lowercase()])
}

impl App {
    /// Returns the user with this name and password, and counts the login or the failure.
    pub async fn log_in(&self, user_name: &str, password: &str) -> Result<User, Refusal> {
        // Such a name or password cannot be right. It is refused before it costs a hash.
        if user_name.is_empty() || user_name.len() > LONGEST || password.len() > LONGEST_PASSWORD {
            return Err(Refusal::BadCredentials);
        }
        let principal = principal(UAA_ORIGIN, user_name);
        // Attempts of one name run one after another in small numbers, so that guesses cannot overtake the count of failures.
        let Some(_turn) = self.callers.take(&principal).await else {
            self.metrics.login("busy");
            return Err(Refusal::TooManyAttempts);
        };
        let failures = self.store.failures(&principal).await?;
        if failures.locked_until > self.store.now() {
            self.metrics.login("locked");
            return Err(Refusal::Locked);
        }
        let user = self.store.user_by_name(UAA_ORIGIN, user_name).await?;
        let hash = user.as_ref().and_then(|user| user.password_hash.as_deref());
        let right = self
            .hasher
            .verify(hash, password)
            .await
            .inspect_err(|_| self.metrics.login("busy"))?;
        match user {
            // An inactive user is refused like a wrong password, and after the same time.
            Some(user) if right && user.active => {
                // Most logins have no failures before them, and save a write.
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
                // The name that was entered is not logged: people type passwords into the wrong field.
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

    /// Checks the present password of a user who has a token. Failures count as failed logins, so that the holder of a stolen
    /// token cannot guess the password.
    pub async fn check_password(&self, user: &User, password: &str) -> Result<(), Refusal> {
        let principal = principal(UAA_ORIGIN, &user.user_name);
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

    /// Sets a user's password, and revokes all of the user's tokens and sessions.
    pub async fn change_password(&self, user: &User, password: &str) -> Result<(), Refusal> {
        self.check_policy(password)?;
        let present = user.password_hash.as_deref();
        if present.is_some() && self.hasher.verify(present, password).await? {
            return Err(Refusal::SamePassword);
        }
        let hash = self.hasher.hash(password).await?;
        if !self.store.set_password(user, &hash).await? {
            return Err(Refusal::ChangedMeanwhile);
        }
        self.revoked.catch_up().await;
        Ok(())
    }

    /// Checks that a new password meets the policy.
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

    /// Replaces the hash of a password if it was made with other parameters than those of the configuration. A failure is
    /// only logged: the next login tries again.
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
