//! Users of external OpenID Connect providers.
//!
//! A login at a provider is the authorization-code flow with PKCE, a nonce, and a state that is bound to the browser. The
//! provider answers with an id token, whose signature, issuer, audience, times and nonce are checked here.
//!
//! A user of a provider has the provider's name as origin and the claim `sub` as external id. The first login creates the user,
//! and each login updates the user's mapped groups. An id token that is used as an assertion updates groups only if it was
//! issued after the last login.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_db::DbError;
use weir_platform_uaa_store::{Email, User};
use weir_service::Clock;

use crate::Error;
use crate::app::App;
use crate::config;
use crate::refusal::Refusal;

mod provider;
mod shared;

pub use provider::{Demand, ExternalLogin, Identity, Provider};

/// All providers of the configuration.
#[derive(Debug)]
pub struct Providers {
    list: Vec<Arc<Provider>>,
}

impl Providers {
    /// Returns the providers of a configuration. A provider is first contacted when a user logs in there.
    pub fn new(configs: &[config::Provider], callback_base: &str, clock: &Clock) -> Result<Self, Error> {
        let list = configs
            .iter()
            .map(|config| Provider::new(config, callback_base, clock).map(Arc::new));
        Ok(Self {
            list: list.collect::<Result<_, _>>()?,
        })
    }

    /// Returns all providers, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.list.iter().map(Arc::as_ref)
    }

    /// Returns the provider with this name.
    pub fn by_name(&self, name: &str) -> Option<&Provider> {
        self.iter().find(|provider| provider.name() == name)
    }

    /// Returns the provider with this issuer, the claim `iss` of its tokens.
    pub fn by_issuer(&self, issuer: &str) -> Option<&Provider> {
        self.iter().find(|provider| provider.issuer() == issuer)
    }
}

impl App {
    /// Returns the user with this identity at the provider. A user who does not exist yet is created.
    pub async fn user_of(&self, provider: &Provider, identity: &Identity) -> Result<User, Refusal> {
        let origin = provider.name();
        let mut user = match self.store.user_by_external_id(origin, &identity.subject).await? {
            Some(user) => self.updated_user(user, identity).await?,
            // `cf create-user --origin` creates a user with a name and without an external id. The first login with that name
            // takes the user over.
            None => match self.store.user_by_name(origin, &identity.user_name).await? {
                Some(user) if user.external_id.is_none() => self.updated_user(user, identity).await?,
                Some(_) => {
                    weir_service::limited!(
                        warn,
                        weir_service::EACH_SECOND,
                        provider = origin,
                        "two users of a provider have the same name"
                    );
                    return Err(Refusal::NameTaken);
                }
                None => self.created_user(origin, identity).await?,
            },
        };
        if !user.active {
            return Err(Refusal::Inactive);
        }
        if provider.maps_groups() && identity.has_current_groups(&user) {
            let mut groups = BTreeSet::new();
            for name in provider.groups_of(identity) {
                match self.store.group_by_name(name).await? {
                    Some(group) => drop(groups.insert(group.id)),
                    None => weir_service::limited!(
                        warn,
                        weir_service::EACH_SECOND,
                        provider = origin,
                        group = name,
                        "a mapped group does not exist"
                    ),
                }
            }
            let left = self.store.sync_memberships(&user.id, origin, &groups).await?;
            if !left.is_empty() {
                self.revoked.catch_up().await;
                // The read user has an older revocation number, with which the new token would be refused.
                let again = self.store.user(&user.id).await?.filter(|user| user.active);
                user = again.ok_or(Refusal::Inactive)?;
            }
        }
        self.store.logged_on(&user.id).await?;
        Ok(user)
    }

    async fn updated_user(&self, user: User, identity: &Identity) -> Result<User, Refusal> {
        let mut fresh = user.clone();
        fresh.external_id = Some(identity.subject.clone());
        identity.write(&mut fresh);
        if fresh == user {
            return Ok(user);
        }
        fresh.version += 1;
        fresh.modified_at = self.store.now();
        if self.store.replace_user(&fresh, user.version).await? {
            return Ok(fresh);
        }
        // Another login has changed the user: either of the same person, or of another identity that took the user over.
        let present = self.store.user(&user.id).await?;
        let same = |present: &User| present.external_id.as_ref() == Some(&identity.subject);
        present.filter(same).ok_or(Refusal::ChangedMeanwhile)
    }

    async fn created_user(&self, origin: &str, identity: &Identity) -> Result<User, Refusal> {
        let now = self.store.now();
        let mut user = User {
            id: uuid::Uuid::new_v4().to_string(),
            origin: origin.to_owned(),
            user_name: identity.user_name.clone(),
            external_id: Some(identity.subject.clone()),
            given_name: None,
            family_name: None,
            emails: Vec::new(),
            phones: Vec::new(),
            active: true,
            verified: true,
            password_hash: None,
            password_changed_at: None,
            created_at: now,
            modified_at: now,
            version: 0,
            last_logon: None,
            previous_logon: None,
            as_of: 0,
        };
        identity.write(&mut user);
        match self.store.add_user(&user).await {
            Ok(()) => {
                tracing::info!(user = user.id, origin, "a user of an external provider was made");
                Ok(user)
            }
            Err(DbError::Duplicate(_)) => {
                let other = self.store.user_by_external_id(origin, &identity.subject).await?;
                // No user with this identity: another user got the name since it was looked up. A new attempt finds that user.
                other.ok_or(Refusal::ChangedMeanwhile)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Identity {
    /// Returns the time of the login in seconds since 1970: the provider's `auth_time`, or else `now`. It is never after `now`.
    pub fn logged_in_at(&self, now: i64) -> i64 {
        self.auth_time.map_or(now, |time| time.min(now))
    }

    /// Whether the groups of this identity are those that the user has at the provider now.
    ///
    /// A login is always current, also if it names no groups, because the provider was asked for them. An assertion may be
    /// older than the last login, and would then give back groups that the user has lost; an assertion without groups says
    /// nothing about them.
    fn has_current_groups(&self, user: &User) -> bool {
        self.said_at.is_none_or(|said| {
            let known = user.last_logon.unwrap_or(i64::MIN);
            self.groups.is_some() && said.saturating_mul(1000) > known
        })
    }

    fn write(&self, user: &mut User) {
        if let Some(email) = &self.email {
            user.emails = vec![Email {
                value: email.clone(),
                primary: true,
                kind: None,
            }];
            user.verified = self.email_verified;
        }
        if self.given_name.is_some() {
            user.given_name.clone_from(&self.given_name);
        }
        if self.family_name.is_some() {
            user.family_name.clone_from(&self.family_name);
        }
    }
}
