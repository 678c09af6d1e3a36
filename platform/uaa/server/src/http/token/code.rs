//! The authorization-code grant, with PKCE.
//!
//! A code is bound to one client, one redirect URI and one verifier, and can be used once. A second use revokes the tokens of the
//! first, because one of the two was not the client (RFC 6749 §4.1.2).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde_json::Value;
use weir_platform_uaa_core::issue::{Grant, new_jti};
use weir_platform_uaa_store::{Code, IssuedTo, LONGEST_VALIDITY, Redeemed, secrets};

use super::{Request, held};
use crate::http::error::ApiError;
use crate::http::invalid_grant::InvalidGrant;

/// The lengths of a verifier (RFC 7636 §4.1).
const VERIFIER: std::ops::RangeInclusive<usize> = 43..=128;

impl Request<'_> {
    pub(super) async fn code(&self) -> Result<Value, ApiError> {
        let app = self.app;
        let hash = secrets::digest(self.form.required("code")?);
        let code = app.store.code(&hash).await?.ok_or(InvalidGrant::Code)?;
        // Another client gets the answer for an unknown code, and the code stays valid for its own client.
        if code.client_id != self.client().id {
            return Err(InvalidGrant::Code.into());
        }
        if code.used_at.is_some() {
            self.revoke_replayed(&code).await?;
            return Err(InvalidGrant::Code.into());
        }
        if let Err(refused) = self.check_parameters(&code) {
            // A wrong verifier or redirect URI means that the code was stolen, so the client must not be able to use it
            // either.
            app.store.invalidate_code(&hash).await?;
            return Err(refused);
        }
        let user = app
            .store
            .user(&code.user_id)
            .await?
            .filter(|user| user.active)
            .ok_or(InvalidGrant::Code)?;
        self.check_user_origin(&user)?;
        // The user may have lost groups, and the client scopes, since the code was issued.
        let held = held(app, self.client(), &user).await?;
        let granted: std::collections::BTreeSet<String> = code
            .scopes
            .iter()
            .filter(|scope| held.contains(*scope))
            .cloned()
            .collect();
        if granted.is_empty() {
            return Err(InvalidGrant::Code.into());
        }
        let grant = Grant {
            client: self.client(),
            user: Some(&user),
            scopes: granted,
            grant_type: "authorization_code",
            auth_time: code.auth_time,
            nonce: code.nonce.as_deref(),
            id_token: true,
            until: None,
        };
        // Both ids are stored with the code, so that a second use of it can revoke the tokens.
        let (jti, family) = (new_jti(), secrets::random_hex::<16>());
        let refresh = app.refresh_for(&grant, &family, None);
        let kept = refresh.as_ref().map(|refresh| &refresh.kept);
        // Fixed before the transaction, as in `App::store_grant`: a revocation in between covers this second.
        let second = app.second_for(&grant).await?;
        let basis = (&user, self.client());
        match app.store.redeem_code(&hash, basis, &jti, &family, kept).await? {
            Redeemed::Now => {}
            Redeemed::Before(code) => {
                self.revoke_replayed(&code).await?;
                return Err(InvalidGrant::Code.into());
            }
            Redeemed::Gone => return Err(InvalidGrant::Code.into()),
            Redeemed::ChangedMeanwhile => return Err(ApiError::changed_meanwhile()),
        }
        let access = app.access(&grant, jti, second);
        Ok(access.answer(refresh.as_ref().map(|refresh| refresh.token.as_str())))
    }

    /// Checks the end of a code, and the redirect URI and the verifier that the request sends with it.
    fn check_parameters(&self, code: &Code) -> Result<(), ApiError> {
        if code.expires_at <= self.app.store.now() {
            return Err(InvalidGrant::Code.into());
        }
        let redirect = self.form.filled("redirect_uri");
        match (&code.redirect_uri, redirect) {
            (Some(known), Some(shown)) if known == shown => {}
            (None, None) => {}
            // If the authorization request named no URI, the token request may name the registered one.
            (None, Some(shown)) if self.client().detail.redirect_uri == [shown] => {}
            _ => return Err(InvalidGrant::RedirectUri.into()),
        }
        match (&code.challenge, self.form.filled("code_verifier")) {
            (Some(challenge), Some(verifier)) => {
                let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
                let well_formed = VERIFIER.contains(&verifier.len()) && verifier.bytes().all(usable);
                let digest = digest::digest(&digest::SHA256, verifier.as_bytes());
                if !well_formed || !secrets::equal(&URL_SAFE_NO_PAD.encode(digest), challenge) {
                    return Err(InvalidGrant::WrongVerifier.into());
                }
            }
            (Some(_), None) => return Err(InvalidGrant::MissingVerifier.into()),
            // A downgrade attack: the challenge was removed from the authorization request (RFC 9700 §4.8.2).
            (None, Some(_)) => return Err(InvalidGrant::MissingChallenge.into()),
            (None, None) if !self.requester.showed_secret => {
                return Err(InvalidGrant::ChallengeRequired.into());
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Revokes what was issued for a code that is used a second time.
    async fn revoke_replayed(&self, code: &Code) -> Result<(), ApiError> {
        weir_service::limited!(
            warn,
            weir_service::EACH_SECOND,
            user = code.user_id,
            client = code.client_id,
            "an authorization code was used twice: the tokens that were issued for it are revoked"
        );
        if let Some(family) = &code.family {
            self.app.store.end_family(&code.user_id, family).await?;
        }
        // The end of the token is not stored, so its latest possible end is used. It is revoked once, however often the code is
        // used.
        let end = code.used_at.unwrap_or_default() / 1000 + LONGEST_VALIDITY;
        let lives = |jti: &&String| end > self.app.now() && !self.app.revoked.has_token(jti);
        if let Some(jti) = code.access_jti.as_ref().filter(lives) {
            let issued_to = IssuedTo {
                user: Some(&code.user_id),
                client: &code.client_id,
            };
            self.app.store.revoke_token(jti, end, Some(issued_to)).await?;
            self.app.revoked.catch_up().await;
        }
        Ok(())
    }
}
