//! The authorization-code grant, with PKCE.
//!
//! A code is for one client, one redirect URI and one verifier, and good once. Shown a second time it revokes what was
//! issued the first time: one of the two was not the client.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde_json::Value;
use weir_platform_uaa_core::issue::{Grant, new_jti};
use weir_platform_uaa_store::{Code, IssuedTo, LONGEST_VALIDITY, Redeemed, secrets};

use super::{Request, held};
use crate::http::error::ApiError;
use crate::http::invalid_grant::InvalidGrant;

/// Lengths that RFC 7636 gives a verifier.
const VERIFIER: std::ops::RangeInclusive<usize> = 43..=128;

impl Request<'_> {
    pub(super) async fn code(&self) -> Result<Value, ApiError> {
        let app = self.app;
        let hash = secrets::digest(self.form.required("code")?);
        let code = app.store.code(&hash).await?.ok_or(InvalidGrant::Code)?;
        if code.client_id != self.client().id {
            return Err(InvalidGrant::Code.into());
        }
        if code.used_at.is_some() {
            self.replayed(&code).await?;
            return Err(InvalidGrant::Code.into());
        }
        if let Err(refused) = self.fits(&code) {
            app.store.spoil_code(&hash).await?;
            return Err(refused);
        }
        let user = app
            .store
            .user(&code.user_id)
            .await?
            .filter(|user| user.active)
            .ok_or(InvalidGrant::Code)?;
        self.takes(&user)?;
        // What changed since the code was issued counts.
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
        let (jti, family) = (new_jti(), secrets::random_hex::<16>());
        let refresh = app.refresh_for(&grant, &family, None);
        let kept = refresh.as_ref().map(|refresh| &refresh.kept);
        let second = app.second_for(&grant).await?;
        let basis = (&user, self.client());
        match app.store.redeem_code(&hash, basis, &jti, &family, kept).await? {
            Redeemed::Now => {}
            Redeemed::Before(code) => {
                self.replayed(&code).await?;
                return Err(InvalidGrant::Code.into());
            }
            Redeemed::Gone => return Err(InvalidGrant::Code.into()),
            Redeemed::Overtaken => return Err(ApiError::overtaken()),
        }
        let access = app.access(&grant, jti, second);
        Ok(access.answer(refresh.as_ref().map(|refresh| refresh.token.as_str())))
    }

    /// Whether what is shown beside the code is what it was issued for.
    fn fits(&self, code: &Code) -> Result<(), ApiError> {
        if code.expires_at <= self.app.store.now() {
            return Err(InvalidGrant::Code.into());
        }
        let redirect = self.form.filled("redirect_uri");
        match (&code.redirect_uri, redirect) {
            (Some(known), Some(shown)) if known == shown => {}
            (None, None) => {}
            // Where the request named none, the client may name the one that is registered.
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
            // Somebody took the challenge out of the request on its way.
            (None, Some(_)) => return Err(InvalidGrant::MissingChallenge.into()),
            (None, None) if !self.asking.proved => {
                return Err(InvalidGrant::ChallengeRequired.into());
            }
            (None, None) => {}
        }
        Ok(())
    }

    async fn replayed(&self, code: &Code) -> Result<(), ApiError> {
        weir_service::limited!(
            warn,
            weir_service::EACH_SECOND,
            user = code.user_id,
            client = code.client_id,
            "an authorization code was shown twice: what was issued for it is revoked"
        );
        if let Some(family) = &code.family {
            self.app.store.end_family(&code.user_id, family).await?;
        }
        // From then on it is over; and once is enough, however often the code is shown.
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
