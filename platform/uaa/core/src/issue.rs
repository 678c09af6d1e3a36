//! Issues tokens: computes their claims, and stores what must be known of them later.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use serde_json::{Map, Value, json};
use weir_platform_uaa_store::{Client, LEEWAY, RefreshToken, User, scopes, secrets};

use crate::app::App;
use crate::refusal::Refusal;

/// The name of the only identity zone.
pub const ZONE: &str = "uaa";

/// The longest token that is parsed, in bytes: one of this UAA, or of a provider.
pub const LONGEST_TOKEN: usize = 256 << 10;

/// The longest access token in bytes. Servers of the stack accept no longer ones (`weir-auth`), because a token must fit into
/// the head of a request.
const LONGEST_ACCESS: usize = 32 << 10;

/// The bytes of an access token that are not scopes: header, signature, names and addresses.
const OTHER_CLAIMS: usize = 4 << 10;

/// The subject and the properties of a token that is to be issued.
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
    /// The time of the login in seconds since 1970.
    pub auth_time: i64,
    /// The `nonce` that an id token must repeat.
    pub nonce: Option<&'g str>,
    /// Whether an id token is wanted.
    pub id_token: bool,
    /// The latest end of the access token in seconds since 1970, also if the client's tokens are valid for longer.
    pub until: Option<i64>,
}

/// An access token with the other parts of a token response.
#[derive(Debug)]
pub struct Access {
    /// The id of the token (`jti`).
    pub jti: String,
    token: String,
    id_token: Option<String>,
    expires_in: i64,
    scope: String,
}

/// A refresh token, and its row in the database.
pub struct Refresh {
    /// The token that the client gets.
    pub token: String,
    /// The row of the token, which has a digest in place of the token.
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
    /// Returns the answer of `POST /oauth/token`.
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
    /// Whether an access token with these scopes is at most [`LONGEST_ACCESS`] bytes long. The estimate is never too low.
    fn fits(&self) -> bool {
        // Each name has two quotes and a comma. A client's own token carries its scopes twice: also as `authorities`.
        let names = |names: &BTreeSet<String>| names.iter().map(|name| name.len() + 3).sum::<usize>();
        let scopes = names(&self.scopes) * if self.user.is_none() { 2 } else { 1 };
        let claims = scopes + names(&scopes::audience(&self.scopes, &self.client.id)) + OTHER_CLAIMS;
        // Base64 has 4 characters for 3 bytes.
        claims.div_ceil(3) * 4 <= LONGEST_ACCESS
    }
}

/// Returns a new random id for a token.
pub fn new_jti() -> String {
    secrets::random_hex::<16>()
}

/// Returns the claim `rev_sig`, which changes when the user's password or the client's secrets change.
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
    /// Stores the refresh token of a grant, and returns the second in which its access token is issued.
    ///
    /// Refuses if the user or the client was changed or revoked since it was read. The second is fixed before the row is
    /// written: a revocation that runs in between does not find the row, and covers the second.
    pub async fn store_grant(&self, grant: &Grant<'_>, refresh: Option<&Refresh>) -> Result<i64, Refusal> {
        let second = self.second_for(grant).await?;
        let kept = refresh.map(|refresh| &refresh.kept);
        if self.store.issue(grant.user, grant.client, kept).await? {
            Ok(second)
        } else {
            Err(Refusal::ChangedMeanwhile)
        }
    }

    /// Returns the second in which an access token for this grant is issued (`iat`). A revocation covers all tokens up to a
    /// second, so after a recent revocation for this user and client it is the first second that is not covered.
    pub async fn second_for(&self, grant: &Grant<'_>) -> Result<i64, Refusal> {
        if !grant.fits() {
            return Err(Refusal::TokenTooLong);
        }
        // Revocations of other nodes that were written before user and client were read must be in memory here.
        let read = grant.user.map_or(0, |user| user.as_of).max(grant.client.as_of);
        self.revoked.catch_up_to(read).await?;
        let second = self.unrevoked_second(grant).await;
        // The second may be ahead of the clock. A later revocation by this node must cover it.
        self.store.issued(second);
        Ok(second)
    }

    /// Returns an access token with the id `jti`, issued in the second that [`App::second_for`] returned.
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
        // The original has the id of the client under three names, and each has its readers.
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

    /// Returns a refresh token for a grant, if the client may have one. It ends at `until` (seconds since 1970) at the latest,
    /// and is valid once its row is stored.
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
            // No other server may accept a refresh token.
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
        // `at_hash` is the left half of the digest (OpenID Connect Core, 3.1.3.6).
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

    /// Returns the life time of an access token of this client, in seconds.
    fn access_validity(&self, client: &Client) -> i64 {
        let longest = seconds(self.config.tokens.longest_access);
        let own = client.detail.access_token_validity.filter(|seconds| *seconds > 0);
        own.unwrap_or_else(|| seconds(self.config.tokens.access)).min(longest)
    }

    /// Returns the first second from now on that no revocation for this user and client covers. It may be ahead of the clock by
    /// as much as verifiers allow, and is waited for beyond that.
    async fn unrevoked_second(&self, grant: &Grant<'_>) -> i64 {
        let user = grant.user.map(|user| user.id.as_str());
        let Some(floor) = self.revoked.floor(user, &grant.client.id) else {
            return self.now();
        };
        let wait = floor + 1 - self.now() - LEEWAY;
        // A longer wait means that the clocks of nodes differ by more than `LEEWAY`. Waiting cannot help then.
        if (1..=LEEWAY + 1).contains(&wait) {
            let passed = self.clock.now_nanos().rem_euclid(1_000_000_000);
            let left = u64::try_from(wait * 1_000_000_000 - passed).unwrap_or(0);
            tokio::time::sleep(Duration::from_nanos(left)).await;
        }
        self.now().max(floor + 1)
    }
}

/// Returns the whole seconds of a duration.
pub fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
