//! The refresh grant.
//!
//! A refresh token is found by the digest of its whole text: a changed one is another one. It stays good until its end,
//! or, with rotation, until its successor is issued; one that was replaced or revoked and is shown again revokes all that
//! came of the same login.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_jose::Flaw;
use weir_platform_uaa_core::issue::{Grant, new_jti};
use weir_platform_uaa_store::{RefreshToken, Renewed, secrets};

use super::{JWT_BEARER, Request, held, within};
use crate::http::error::ApiError;

/// How often a refresh begins anew when something that it rests on changes under its hands.
const ATTEMPTS: usize = 3;

impl Request<'_> {
    pub(super) async fn refresh(&self) -> Result<Value, ApiError> {
        for _ in 0..ATTEMPTS {
            if let Some(answer) = Box::pin(self.attempt()).await? {
                return Ok(answer);
            }
        }
        Err(ApiError::overtaken())
    }

    /// `None` if what it rests on was changed meanwhile: what counts then is found by the next one.
    async fn attempt(&self) -> Result<Option<Value>, ApiError> {
        let app = self.app;
        let token = self.form.required("refresh_token")?;
        let hash = secrets::digest(token);
        let kept = app.store.refresh_token(&hash).await?;
        let kept = kept.ok_or_else(|| ApiError::invalid_token("The refresh token is not known"))?;
        // Bound to its client: another one learns nothing about it.
        if kept.client_id != self.client().id {
            return Err(ApiError::invalid_token("The refresh token is not known"));
        }
        if kept.revoked_at.is_some() {
            self.shown_again(&kept).await?;
            return Err(Flaw::Revoked.into());
        }
        if kept.expires_at <= app.store.now() {
            return Err(Flaw::Expired.into());
        }
        let user = app.store.user(&kept.user_id).await?.filter(|user| user.active);
        let user = user.ok_or_else(|| ApiError::invalid_token("The user of the refresh token is gone"))?;
        self.takes(&user)?;
        // What the user or the client may not have any more is not renewed.
        let once: BTreeSet<String> = kept.scopes.iter().cloned().collect();
        let held = held(app, self.client(), &user).await?;
        let held: BTreeSet<String> = once.intersection(&held).cloned().collect();
        let asked = self.asked();
        let granted = if asked.is_empty() {
            held
        } else {
            within(&asked, &once)?.intersection(&held).cloned().collect()
        };
        if granted.is_empty() {
            return Err(ApiError::invalid_token(
                "The user has none of the token's scopes any more",
            ));
        }
        let grant = Grant {
            client: self.client(),
            user: Some(&user),
            scopes: granted,
            grant_type: &kept.grant_type,
            auth_time: kept.auth_time,
            nonce: None,
            id_token: asked.contains("openid") || (asked.is_empty() && once.contains("openid") && is_oidc(&kept)),
            until: access_until(&kept),
        };
        // A client without a secret keeps a stolen token no longer than the next refresh.
        let rotates = app.config.tokens.rotate_refresh || !self.asking.proved;
        let fresh = if rotates {
            let wide = Grant {
                scopes: once,
                ..grant.clone()
            };
            let fresh = app.refresh_for(&wide, &kept.family, access_until(&kept));
            Some(fresh.ok_or_else(|| ApiError::invalid_token("The client may not refresh any more"))?)
        } else {
            None
        };
        let second = app.second_for(&grant).await?;
        let successor = fresh.as_ref().map(|fresh| &fresh.kept);
        match app.store.renew((&user, self.client()), &hash, successor).await? {
            Renewed::Now => {}
            Renewed::Overtaken => return Ok(None),
            Renewed::Revoked => {
                // Somebody else was faster with the same token.
                if rotates {
                    self.shown_again(&kept).await?;
                }
                return Err(Flaw::Revoked.into());
            }
        }
        let access = app.access(&grant, new_jti(), second);
        let shown = fresh.as_ref().map_or(token, |fresh| fresh.token.as_str());
        Ok(Some(access.answer(Some(shown))))
    }

    /// Whoever shows a token that does not count any more may have stolen it, or been stolen from.
    async fn shown_again(&self, kept: &RefreshToken) -> Result<(), ApiError> {
        if self.app.store.end_family(&kept.user_id, &kept.family).await? > 0 {
            weir_service::limited!(
                warn,
                weir_service::EACH_SECOND,
                user = kept.user_id,
                client = kept.client_id,
                "a refresh token was shown after it was replaced: all that came of its login is revoked"
            );
        }
        Ok(())
    }
}

/// When an access token for this one ends at the latest (seconds): what came of an assertion must not outlive it by being
/// exchanged and refreshed by turns.
fn access_until(token: &RefreshToken) -> Option<i64> {
    (token.grant_type == JWT_BEARER).then_some(token.expires_at / 1000)
}

/// Whether the login was one of OpenID Connect, whose clients want an id token with each refresh.
fn is_oidc(token: &RefreshToken) -> bool {
    token.grant_type == "authorization_code"
}
