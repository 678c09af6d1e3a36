//! The refresh grant (RFC 6749 §6).
//!
//! A refresh token is found by the digest of its whole text, so its signature need not be verified. It is valid until its end or,
//! with rotation, until its successor is issued. A token that is used after it was replaced or revoked revokes all refresh tokens
//! of its login.

use std::collections::BTreeSet;

use serde_json::Value;
use weir_jose::Flaw;
use weir_platform_uaa_core::issue::{Grant, new_jti};
use weir_platform_uaa_store::{RefreshToken, Renewed, secrets};

use super::{JWT_BEARER, Request, held, within};
use crate::http::error::ApiError;

/// The number of attempts to refresh while the user or the client is changed at the same time.
const ATTEMPTS: usize = 3;

impl Request<'_> {
    pub(super) async fn refresh(&self) -> Result<Value, ApiError> {
        for _ in 0..ATTEMPTS {
            if let Some(answer) = Box::pin(self.attempt()).await? {
                return Ok(answer);
            }
        }
        Err(ApiError::changed_meanwhile())
    }

    /// Refreshes once. Returns `None` if the user or the client was changed meanwhile; a further attempt reads the present rows.
    async fn attempt(&self) -> Result<Option<Value>, ApiError> {
        let app = self.app;
        let token = self.form.required("refresh_token")?;
        let hash = secrets::digest(token);
        let kept = app.store.refresh_token(&hash).await?;
        let kept = kept.ok_or_else(|| ApiError::invalid_token("The refresh token is not known"))?;
        // Another client gets the answer for an unknown token, and does not learn that the token exists.
        if kept.client_id != self.client().id {
            return Err(ApiError::invalid_token("The refresh token is not known"));
        }
        if kept.revoked_at.is_some() {
            self.revoke_family(&kept).await?;
            return Err(Flaw::Revoked.into());
        }
        if kept.expires_at <= app.store.now() {
            return Err(Flaw::Expired.into());
        }
        let user = app.store.user(&kept.user_id).await?.filter(|user| user.active);
        let user = user.ok_or_else(|| ApiError::invalid_token("The user of the refresh token is gone"))?;
        self.check_user_origin(&user)?;
        // Scopes that the user or the client has lost since the login are not issued again.
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
        // RFC 9700 §4.14.2: refresh tokens of public clients must be rotated, so that a stolen one is noticed.
        let rotates = app.config.tokens.rotate_refresh || !self.requester.showed_secret;
        let fresh = if rotates {
            // The successor has all scopes of the login, also if this request asks for fewer (RFC 6749 §6).
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
            Renewed::ChangedMeanwhile => return Ok(None),
            Renewed::Revoked => {
                // Another request has used the token in the meantime.
                if rotates {
                    self.revoke_family(&kept).await?;
                }
                return Err(Flaw::Revoked.into());
            }
        }
        let access = app.access(&grant, new_jti(), second);
        let shown = fresh.as_ref().map_or(token, |fresh| fresh.token.as_str());
        Ok(Some(access.answer(Some(shown))))
    }

    /// Revokes all refresh tokens of a login, because one was used after it was replaced: either the earlier or the present user of
    /// the token has stolen it.
    async fn revoke_family(&self, kept: &RefreshToken) -> Result<(), ApiError> {
        if self.app.store.end_family(&kept.user_id, &kept.family).await? > 0 {
            weir_service::limited!(
                warn,
                weir_service::EACH_SECOND,
                user = kept.user_id,
                client = kept.client_id,
                "a refresh token was used after it was replaced: all refresh tokens of its login are revoked"
            );
        }
        Ok(())
    }
}

/// Returns the latest end of an access token, in seconds since 1970. Tokens for an assertion must not outlive it by being
/// exchanged and refreshed in turn.
fn access_until(token: &RefreshToken) -> Option<i64> {
    (token.grant_type == JWT_BEARER).then_some(token.expires_at / 1000)
}

/// Whether the login used OpenID Connect, whose clients expect an id token with each refresh.
fn is_oidc(token: &RefreshToken) -> bool {
    token.grant_type == "authorization_code"
}
