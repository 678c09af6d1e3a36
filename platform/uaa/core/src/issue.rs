//! Issues tokens: what stands in them, and what is kept of them.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde_json::{Map, Value, json};
use weir_platform_uaa_store::{Client, LEEWAY, RefreshToken, User, scopes, secrets};

use crate::app::App;
use crate::refusal::Refusal;

/// The name of the one zone that there is.
pub const ZONE: &str = "uaa";

/// Longest token that is looked at, in bytes: one of ours, or of a provider.
pub const LONGEST_TOKEN: usize = 256 << 10;

/// The longest access token, in bytes, that the servers of the stack accept (`weir-auth`) and that fits into a
/// request's head.
const LONGEST_ACCESS: usize = 32 << 10;

/// What of it everything beside the names of scopes may take: names and addresses, header, signature.
const OTHER_CLAIMS: usize = 4 << 10;

/// What a token is to be issued for.
#[derive(Debug, Clone)]
pub struct Grant<'g> {
    /// The client that asks for the token.
    pub client: &'g Client,
    /// `None` for a client's own token.
    pub user: Option<&'g User>,
    /// The scopes of the token.
    pub scopes: BTreeSet<String>,
    /// The grant by which the token was asked for.
    pub grant_type: &'g str,
    /// When the user logged in (seconds).
    pub auth_time: i64,
    /// The `nonce` that an id token must repeat.
    pub nonce: Option<&'g str>,
    /// Whether an id token is wanted.
    pub id_token: bool,
    /// When the access token ends at the latest (seconds), whatever the client's tokens are good for.
    pub until: Option<i64>,
}

/// An access token and what comes with it.
#[derive(Debug)]
pub struct Access {
    /// The name of the token.
    pub jti: String,
    token: String,
    id_token: Option<String>,
    expires_in: i64,
    scope: String,
}

/// A refresh token, and how it is kept.
pub struct Refresh {
    /// The token as the client gets it.
    pub token: String,
    /// The token as the database keeps it.
    pub kept: RefreshToken,
}

impl std::fmt::Debug for Refresh {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Refresh")
            .field("jti", &self.kept.jti)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// The answer of `POST /oauth/token`.
    pub fn answer(self, refresh: Option<&str>) -> Value {
        let mut answer = json!({
            "access_token": self.token,
            // Lower case: the cf CLI strips it literally.
            "token_type": "bearer",
            "expires_in": self.expires_in,
            "scope": self.scope,
            "jti": self.jti,
        });
        if let Some(refresh) = refresh {
            answer["refresh_token"] = refresh.into();
        }
        if let Some(id_token) = self.id_token {
            answer["id_token"] = id_token.into();
        }
        answer
    }
}

impl Grant<'_> {
    /// Whether an access token with these scopes is one that its readers take.
    fn fits(&self) -> bool {
        let names = |names: &BTreeSet<String>| names.iter().map(|name| name.len() + 3).sum::<usize>();
        let scopes = names(&self.scopes) * if self.user.is_none() { 2 } else { 1 };
        let claims = scopes + names(&scopes::audience(&self.scopes, &self.client.id)) + OTHER_CLAIMS;
        claims.div_ceil(3) * 4 <= LONGEST_ACCESS
    }
}

/// Returns a new, random name for a token.
pub fn new_jti() -> String {
    secrets::random_hex::<16>()
}

/// What a token rests on: it changes with the user's password and the client's secrets.
pub fn revocation_signature(client: &Client, user: Option<&User>) -> String {
    let user = user.map(|user| {
        let password = user.password_hash.as_deref().unwrap_or_default();
        secrets::digest_of(&[&user.id, password, &user.user_name, &user.origin])
    });
    let second = client.second_hash.as_deref().unwrap_or_default();
    let whole = secrets::digest_of(&[&user.unwrap_or_default(), &client.id, &client.secret_hash, second]);
    whole[..8].to_owned()
}

impl App {
    /// Fixes the second that a grant's access token is issued in, and keeps what is issued with it; refuses where what
    /// the grant rests on was changed or ended since it was read. The second comes first: a revocation that does not
    /// find what is kept here reaches further than it.
    pub async fn settle(&self, grant: &Grant<'_>, refresh: Option<&Refresh>) -> Result<i64, Refusal> {
        let second = self.second_for(grant).await?;
        let kept = refresh.map(|refresh| &refresh.kept);
        if self.store.issue(grant.user, grant.client, kept).await? {
            Ok(second)
        } else {
            Err(Refusal::Overtaken)
        }
    }

    /// The second that an access token for this grant is issued in. Where older tokens of the same user and client were
    /// revoked a moment ago it is the one after what that reaches, so that nobody takes the new one for one of them.
    pub async fn second_for(&self, grant: &Grant<'_>) -> Result<i64, Refusal> {
        if !grant.fits() {
            return Err(Refusal::TokenTooLong);
        }
        // What was revoked before the user and the client were read counts here, on whatever node it was.
        let read = grant.user.map_or(0, |user| user.as_of).max(grant.client.as_of);
        self.revoked.catch_up_to(read).await?;
        let second = self.unrevoked_second(grant).await;
        self.store.issued(second);
        Ok(second)
    }

    /// An access token named `jti`, issued in a second that was fixed before.
    pub fn access(&self, grant: &Grant<'_>, jti: String, issued_at: i64) -> Access {
        let left = grant
            .until
            .map_or(i64::MAX, |until| until.saturating_sub(issued_at).max(0));
        let expires_in = self.access_validity(grant.client).min(left);
        let user_id = grant.user.map(|user| user.id.as_str());
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| drop(claims.insert(name.to_owned(), value));
        put("jti", jti.clone().into());
        put("sub", user_id.unwrap_or(&grant.client.id).into());
        if grant.user.is_none() {
            put("authorities", json!(grant.scopes));
        }
        put("scope", json!(grant.scopes));
        put("client_id", grant.client.id.clone().into());
        put("cid", grant.client.id.clone().into());
        put("azp", grant.client.id.clone().into());
        put("revocable", true.into());
        put("grant_type", grant.grant_type.into());
        if let Some(user) = grant.user {
            put("user_id", user.id.clone().into());
            put("origin", user.origin.clone().into());
            put("user_name", user.user_name.clone().into());
            put("email", user.email().into());
            put("auth_time", grant.auth_time.into());
        }
        put("rev_sig", revocation_signature(grant.client, grant.user).into());
        put("iat", issued_at.into());
        put("exp", (issued_at + expires_in).into());
        put("iss", self.issuer.clone().into());
        put("zid", ZONE.into());
        put("aud", json!(scopes::audience(&grant.scopes, &grant.client.id)));
        let token = self.keys.sign(&claims);
        let id_token = grant
            .user
            .filter(|_| grant.id_token && grant.scopes.contains("openid"))
            .map(|user| self.id_token(grant, user, &token, issued_at, expires_in));
        self.metrics.issued(grant.grant_type);
        Access {
            jti,
            token,
            id_token,
            expires_in,
            scope: grant.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" "),
        }
    }

    /// A refresh token for the same grant, if the client may have one, which ends at `until` (seconds) at the latest.
    /// It is good once it is kept.
    pub fn refresh_for(&self, grant: &Grant<'_>, family: &str, until: Option<i64>) -> Option<Refresh> {
        let user = grant.user.filter(|_| grant.client.may("refresh_token"))?;
        let jti = format!("{}-r", new_jti());
        let issued_at = self.now();
        let validity = grant
            .client
            .detail
            .refresh_token_validity
            .filter(|seconds| *seconds > 0);
        let validity = validity.unwrap_or_else(|| seconds(self.config.tokens.refresh));
        let expires_at = issued_at.saturating_add(validity).min(until.unwrap_or(i64::MAX));
        let claims = json!({
            "jti": jti,
            "sub": user.id,
            "iat": issued_at,
            "exp": expires_at,
            "cid": grant.client.id,
            "client_id": grant.client.id,
            "iss": self.issuer,
            "zid": ZONE,
            // Nobody but ourselves.
            "aud": [self.issuer],
            "grant_type": grant.grant_type,
            "user_id": user.id,
            "user_name": user.user_name,
            "origin": user.origin,
            "revocable": true,
        });
        let claims = claims.as_object().cloned().unwrap_or_default();
        let token = self.keys.sign(&claims);
        Some(Refresh {
            kept: RefreshToken {
                token_hash: secrets::digest(&token),
                jti,
                user_id: user.id.clone(),
                client_id: grant.client.id.clone(),
                scopes: grant.scopes.iter().cloned().collect(),
                family: family.to_owned(),
                grant_type: grant.grant_type.to_owned(),
                auth_time: grant.auth_time,
                issued_at: issued_at * 1000,
                expires_at: expires_at.saturating_mul(1000),
                revoked_at: None,
            },
            token,
        })
    }

    fn id_token(&self, grant: &Grant<'_>, user: &User, access: &str, issued_at: i64, expires_in: i64) -> String {
        let digest = digest::digest(&digest::SHA256, access.as_bytes());
        let mut claims = json!({
            "iss": self.issuer,
            "sub": user.id,
            "aud": [grant.client.id],
            "azp": grant.client.id,
            "exp": issued_at + expires_in,
            "iat": issued_at,
            "auth_time": grant.auth_time,
            "at_hash": URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]),
            "jti": new_jti(),
            "user_id": user.id,
            "user_name": user.user_name,
            "preferred_username": user.user_name,
            "email": user.email(),
            "email_verified": user.verified,
            "origin": user.origin,
            "zid": ZONE,
            "amr": [if user.origin == "uaa" { "pwd" } else { "ext" }],
            "rev_sig": revocation_signature(grant.client, Some(user)),
        });
        let optional = [
            ("nonce", grant.nonce.map(str::to_owned)),
            ("given_name", user.given_name.clone()),
            ("family_name", user.family_name.clone()),
            ("name", user.full_name()),
            ("phone_number", user.phones.first().cloned()),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                claims[name] = value.into();
            }
        }
        if grant.scopes.contains("roles") {
            claims["roles"] = json!(grant.scopes);
        }
        self.keys.sign(claims.as_object().unwrap_or(&Map::new()))
    }

    /// Seconds that an access token of this client is good for.
    fn access_validity(&self, client: &Client) -> i64 {
        let longest = seconds(self.config.tokens.longest_access);
        let own = client.detail.access_token_validity.filter(|seconds| *seconds > 0);
        own.unwrap_or_else(|| seconds(self.config.tokens.access)).min(longest)
    }

    /// A second in which nothing of this user and client was revoked. It may be ahead of the clock, but not further
    /// than verifiers allow: the rest of the way is waited.
    async fn unrevoked_second(&self, grant: &Grant<'_>) -> i64 {
        let user = grant.user.map(|user| user.id.as_str());
        let Some(floor) = self.revoked.floor(user, &grant.client.id) else {
            return self.now();
        };
        let wait = floor + 1 - self.now() - LEEWAY;
        // Should clocks be further apart than that, waiting does not help.
        if (1..=LEEWAY + 1).contains(&wait) {
            let passed = self.clock.now_nanos().rem_euclid(1_000_000_000);
            let left = u64::try_from(wait * 1_000_000_000 - passed).unwrap_or(0);
            tokio::time::sleep(Duration::from_nanos(left)).await;
        }
        self.now().max(floor + 1)
    }
}

/// Returns the whole seconds of a duration, as tokens count them.
pub fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
