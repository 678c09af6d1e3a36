//! One provider: its discovery document, its keys and its id tokens.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use ring::digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;
use url::{Url, form_urlencoded};
use weir_jose::{Audience, Flaw, Jwt, KeySet};
use weir_service::Clock;
use weir_uaa_client::{Https, HttpsError};

use super::shared::Shared;
use crate::config;
use crate::issue::LONGEST_TOKEN;

/// How long a discovery document is used before it is fetched again.
const METADATA_AGE: Duration = Duration::from_secs(3600);

/// The shortest time between two fetches of the provider's keys. Tokens with unknown key ids could otherwise cause a fetch
/// each.
const KEYS_EVERY: Duration = Duration::from_secs(5);

/// The accepted difference between the clocks of the provider and this UAA, in seconds.
const LEEWAY: i64 = 60;

/// A failed exchange with a provider. The text is for operators and contains no secrets.
#[derive(Debug, Clone, Error)]
pub enum ProviderError {
    /// The provider cannot be reached.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The provider's answer cannot be used, or is a refusal.
    #[error("{0}")]
    Answer(String),
    /// The provider's id token is not valid.
    #[error("the id token is refused: {_0}")]
    Token(Flaw),
}

/// A user as a provider describes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id of the user at the provider (`sub`).
    pub subject: String,
    /// The user name in this UAA.
    pub user_name: String,
    /// The email address.
    pub email: Option<String>,
    /// Whether the provider has verified the email address.
    pub email_verified: bool,
    /// The first name.
    pub given_name: Option<String>,
    /// The last name.
    pub family_name: Option<String>,
    /// The groups of the user at the provider; `None` if the token has no such claim.
    pub groups: Option<Vec<String>>,
    /// The time of the login at the provider, in seconds since 1970 (`auth_time`).
    pub auth_time: Option<i64>,
    /// The time when an assertion was issued, in seconds since 1970; `None` for an id token that this UAA has just fetched.
    pub said_at: Option<i64>,
}

/// An OpenID Connect provider, with its cached discovery document and keys.
#[derive(Debug)]
pub struct Provider {
    config: config::Provider,
    https: Https,
    callback: String,
    metadata: Shared<Metadata>,
    keys: Shared<KeySet>,
}

/// The state of a login at a provider, kept until the browser comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalLogin {
    /// The name of the provider.
    pub provider: String,
    /// The `state` that the provider's answer must repeat.
    pub state: String,
    /// The `nonce` that the id token must repeat.
    pub nonce: String,
    /// The verifier of PKCE.
    pub verifier: String,
    /// The path to which the browser goes after the login.
    pub continue_to: String,
    /// The time when the browser was sent to the provider, in seconds since 1970.
    pub began_at: i64,
    /// The demand on how recent the login must be.
    pub demand: Demand,
}

/// The demand on how recent a login must be (OpenID Connect Core, 3.1.2.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Whether the user must log in again (`prompt=login`).
    pub login: bool,
    /// The greatest age of the login in seconds (`max_age`).
    pub max_age: Option<i64>,
}

impl Demand {
    /// Returns the parameters of a request with this demand: `prompt=login`, `max_age=SECONDS`.
    pub fn parameters(self) -> impl Iterator<Item = (&'static str, String)> {
        let login = self.login.then(|| ("prompt", "login".to_owned()));
        let age = self.max_age.map(|age| ("max_age", age.to_string()));
        login.into_iter().chain(age)
    }
}

/// The parts of a discovery document that are used.
#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// The claims of an id token that are checked.
#[derive(Debug, Deserialize)]
struct IdToken {
    iss: String,
    sub: String,
    aud: Audience,
    exp: i64,
    iat: Option<i64>,
    nbf: Option<i64>,
    azp: Option<String>,
    nonce: Option<String>,
    auth_time: Option<i64>,
}

/// The parts of a token endpoint's answer that are used.
#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

impl Provider {
    pub(super) fn new(config: &config::Provider, callback_base: &str, clock: &Clock) -> Result<Self, crate::Error> {
        let https = Https::new(config.ca.as_deref()).map_err(|reason| crate::Error::Provider {
            name: config.name.clone(),
            reason,
        })?;
        Ok(Self {
            config: config.clone(),
            https,
            callback: format!("{callback_base}/login/callback/{}", config.name),
            metadata: Shared::new(clock.clone()),
            keys: Shared::new(clock.clone()),
        })
    }

    /// Returns the name, which is the origin of the provider's users.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Returns the text of the provider's button on the login page.
    pub fn title(&self) -> &str {
        &self.config.title
    }

    /// Returns the issuer, the claim `iss` of the provider's tokens.
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Whether groups at the provider give groups in this UAA.
    pub fn maps_groups(&self) -> bool {
        self.config.groups_claim.is_some()
    }

    /// Returns the names of the groups in this UAA that an identity at the provider gives.
    pub fn groups_of<'p>(&'p self, identity: &'p Identity) -> impl Iterator<Item = &'p str> {
        let groups = identity.groups.iter().flatten();
        let mapped = groups.filter_map(|group| self.config.groups.get(group));
        mapped.flatten().map(String::as_str)
    }

    /// Returns the URL at which a browser logs in at the provider.
    pub async fn authorization_url(&self, login: &ExternalLogin) -> Result<Url, ProviderError> {
        let metadata = self.metadata().await?;
        let mut url = https_url(&metadata.authorization_endpoint)?;
        let challenge = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, login.verifier.as_bytes()));
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.callback)
            .append_pair("scope", &self.config.scopes.join(" "))
            .append_pair("state", &login.state)
            .append_pair("nonce", &login.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        if login.demand.login {
            url.query_pairs_mut().append_pair("prompt", "login");
        }
        if let Some(age) = login.demand.max_age {
            url.query_pairs_mut().append_pair("max_age", &age.to_string());
        }
        Ok(url)
    }

    /// Redeems an authorization code. Returns the user who has logged in.
    pub async fn redeem(&self, code: &str, login: &ExternalLogin, now: i64) -> Result<Identity, ProviderError> {
        let metadata = self.metadata().await?;
        let (headers, body) = self.redemption(&metadata, code, login)?;
        let url = https_url(&metadata.token_endpoint)?;
        let answer = self.https.send(Method::POST, &url, headers, body).await?;
        if !answer.status.is_success() {
            let reason = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
            // A text of another server goes into the log, so it is cut.
            let reason = reason["error"]
                .as_str()
                .unwrap_or("no reason given")
                .chars()
                .take(80)
                .collect::<String>();
            return Err(ProviderError::Answer(format!(
                "the code is refused: {} {reason}",
                answer.status.as_u16()
            )));
        }
        let tokens: Tokens = serde_json::from_slice(&answer.body)
            .map_err(|_| ProviderError::Answer("the answer has no id token".to_owned()))?;
        let (token, mut claims) = self.verify(&tokens.id_token, now).await?;
        // The nonce binds the token to this login of this browser (OpenID Connect Core, 3.1.3.7).
        if token.nonce.as_deref() != Some(login.nonce.as_str()) {
            return Err(ProviderError::Token(Flaw::Claims));
        }
        login.check(token.auth_time, now)?;
        if let (Some(access), Some(endpoint)) = (&tokens.access_token, &metadata.userinfo_endpoint)
            && self.lacks(&claims)
        {
            self.add_user_info(&mut claims, &token.sub, access, endpoint).await?;
        }
        self.identity(&token, &claims)
    }

    /// Returns the request that redeems a code, with the client secret in the form that the provider supports.
    fn redemption(
        &self,
        metadata: &Metadata,
        code: &str,
        login: &ExternalLogin,
    ) -> Result<(HeaderMap, Bytes), ProviderError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.callback)
            .append_pair("code_verifier", &login.verifier);
        let mut headers = HeaderMap::new();
        let methods = metadata.token_endpoint_auth_methods_supported.as_deref();
        let secret = self.config.client_secret.expose();
        if methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic")) {
            // RFC 6749 §2.3.1: id and secret are form-encoded before they are joined.
            let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
            let pair = STANDARD.encode(format!("{}:{}", encode(&self.config.client_id), encode(secret)));
            headers.insert(header::AUTHORIZATION, sensitive(&format!("Basic {pair}"))?);
        } else {
            form.append_pair("client_id", &self.config.client_id)
                .append_pair("client_secret", secret);
        }
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded"),
        );
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Ok((headers, form.finish().into()))
    }

    /// Verifies an id token that is used as an assertion. Its audience must be this UAA's client at the provider, or this UAA.
    pub async fn verify_assertion(&self, assertion: &str, issuer: &str, now: i64) -> Result<Identity, ProviderError> {
        let parsed = Jwt::parse(assertion, LONGEST_TOKEN).map_err(ProviderError::Token)?;
        let (token, claims) = self.verified(&parsed, now, &[&self.config.client_id, issuer]).await?;
        let mut identity = self.identity(&token, &claims)?;
        // A token without `iat` counts as older than any login.
        identity.said_at = Some(token.iat.unwrap_or(0));
        Ok(identity)
    }

    async fn verify(&self, id_token: &str, now: i64) -> Result<(IdToken, Map<String, Value>), ProviderError> {
        let parsed = Jwt::parse(id_token, LONGEST_TOKEN).map_err(ProviderError::Token)?;
        self.verified(&parsed, now, &[&self.config.client_id]).await
    }

    /// Checks signature, issuer, audience and times.
    async fn verified(
        &self,
        parsed: &Jwt<'_>,
        now: i64,
        audiences: &[&str],
    ) -> Result<(IdToken, Map<String, Value>), ProviderError> {
        let keys = self.keys(parsed.key_id()).await?;
        keys.verify(parsed).map_err(ProviderError::Token)?;
        let token: IdToken = parsed.claims().map_err(ProviderError::Token)?;
        let flaw = if token.iss != self.config.issuer {
            Some(Flaw::Issuer)
        } else if !token.is_for(audiences, &self.config.client_id) {
            Some(Flaw::Audience)
        } else if token.exp <= now - LEEWAY {
            Some(Flaw::Expired)
        } else if [token.iat, token.nbf]
            .into_iter()
            .flatten()
            .any(|time| time > now + LEEWAY)
        {
            Some(Flaw::NotYetValid)
        } else if token.sub.is_empty() || token.sub.len() > 255 {
            Some(Flaw::Claims)
        } else {
            None
        };
        match flaw {
            Some(flaw) => Err(ProviderError::Token(flaw)),
            None => Ok((token, parsed.claims().map_err(ProviderError::Token)?)),
        }
    }

    /// Whether the id token lacks a claim that is used, so that the user info has to be fetched.
    fn lacks(&self, claims: &Map<String, Value>) -> bool {
        let configured = [&self.config.user_name_claim, &self.config.groups_claim];
        let mut configured = configured.into_iter().flatten();
        configured.any(|name| !claims.contains_key(name)) || !claims.contains_key("email")
    }

    async fn add_user_info(
        &self,
        claims: &mut Map<String, Value>,
        subject: &str,
        access: &str,
        endpoint: &str,
    ) -> Result<(), ProviderError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, sensitive(&format!("Bearer {access}"))?);
        let info = get(&self.https, endpoint, headers).await?;
        let info: Map<String, Value> = serde_json::from_slice(&info).unwrap_or_default();
        // OpenID Connect Core 5.3.2: user info with another `sub` must not be used.
        if info.get("sub").and_then(Value::as_str) != Some(subject) {
            return Err(ProviderError::Answer(
                "the user info belongs to another user".to_owned(),
            ));
        }
        // The id token is signed, so its claims have precedence.
        for (name, value) in info {
            claims.entry(name).or_insert(value);
        }
        Ok(())
    }

    fn identity(&self, token: &IdToken, claims: &Map<String, Value>) -> Result<Identity, ProviderError> {
        let text = |name: &str| {
            let value = claims.get(name).and_then(Value::as_str);
            // A longer text does not fit into its column.
            value
                .filter(|value| !value.is_empty() && value.len() <= 255)
                .map(str::to_owned)
        };
        let user_name = match &self.config.user_name_claim {
            Some(name) => text(name),
            None => ["preferred_username", "user_name", "email", "sub"]
                .into_iter()
                .find_map(text),
        };
        let user_name = user_name.ok_or_else(|| ProviderError::Answer("the user has no usable name".to_owned()))?;
        let groups = match self.config.groups_claim.as_ref().and_then(|name| claims.get(name)) {
            Some(Value::Array(groups)) => Some(groups.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
            Some(Value::String(group)) => Some(vec![group.clone()]),
            _ => None,
        };
        Ok(Identity {
            subject: token.sub.clone(),
            user_name,
            email: text("email"),
            email_verified: claims.get("email_verified") == Some(&Value::Bool(true)),
            given_name: text("given_name"),
            family_name: text("family_name"),
            groups,
            auth_time: token.auth_time,
            said_at: None,
        })
    }

    async fn metadata(&self) -> Result<Metadata, ProviderError> {
        let (https, issuer) = (self.https.clone(), self.config.issuer.clone());
        let fetch = async move {
            let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
            let document = get(&https, &url, HeaderMap::new()).await?;
            let metadata: Metadata = serde_json::from_slice(&document)
                .map_err(|_| ProviderError::Answer("the discovery document is not usable".to_owned()))?;
            // OpenID Connect Discovery 4.3: otherwise the document of another provider could be used in its place.
            if metadata.issuer != issuer {
                return Err(ProviderError::Answer(
                    "the discovery document is of another issuer".to_owned(),
                ));
            }
            Ok(metadata)
        };
        self.metadata.get(|_, age| age < METADATA_AGE, fetch).await
    }

    /// Returns the provider's keys, fetched again if the key `kid` is not among those that are known.
    async fn keys(&self, kid: Option<&str>) -> Result<KeySet, ProviderError> {
        let url = self.metadata().await?.jwks_uri;
        let https = self.https.clone();
        let fetch = async move {
            let document = get(&https, &url, HeaderMap::new()).await?;
            KeySet::parse(&document).map_err(|error| ProviderError::Answer(error.to_string()))
        };
        let fresh = |keys: &KeySet, age| age < KEYS_EVERY || (age < METADATA_AGE && keys.knows(kid));
        self.keys.get(fresh, fetch).await
    }
}

impl ExternalLogin {
    /// Checks that a login at `auth_time` (seconds since 1970) is as recent as demanded. A provider must return `auth_time` if
    /// it was asked for `max_age` (OpenID Connect Core, 3.1.3.7).
    fn check(&self, auth_time: Option<i64>, now: i64) -> Result<(), ProviderError> {
        let since = |wanted: i64| match auth_time {
            Some(time) if time < wanted - LEEWAY => Err(ProviderError::Answer(
                "the login there is older than was asked for".to_owned(),
            )),
            _ => Ok(()),
        };
        if self.demand.login {
            since(self.began_at)?;
        }
        let Some(age) = self.demand.max_age else { return Ok(()) };
        if auth_time.is_none() {
            return Err(ProviderError::Answer(
                "it does not say when the user logged in (`auth_time`), which `max_age` asks for".to_owned(),
            ));
        }
        // The age counts at the time of the request: the time that the user needed at the provider is not part of it.
        since(self.began_at.min(now).saturating_sub(age))
    }
}

async fn get(https: &Https, url: &str, mut headers: HeaderMap) -> Result<Bytes, ProviderError> {
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let answer = https.send(Method::GET, &https_url(url)?, headers, Bytes::new()).await?;
    if !answer.status.is_success() {
        return Err(ProviderError::Answer(format!(
            "the answer is {}",
            answer.status.as_u16()
        )));
    }
    Ok(answer.body)
}

fn https_url(text: &str) -> Result<Url, ProviderError> {
    let url = Url::parse(text).ok().filter(|url| url.scheme() == "https");
    url.ok_or_else(|| ProviderError::Answer("an address is not `https`".to_owned()))
}

impl IdToken {
    /// Whether the token is for one of `audiences`, and was issued to `client_id` (`azp`). A token without `azp` must have one
    /// audience only (OpenID Connect Core, 3.1.3.7).
    fn is_for(&self, audiences: &[&str], client_id: &str) -> bool {
        let party = match &self.azp {
            Some(party) => party == client_id,
            None => self.aud.iter().count() == 1,
        };
        party && audiences.iter().any(|audience| self.aud.contains(audience))
    }
}

/// Returns a header value that is marked as sensitive, so that logs do not show it.
fn sensitive(text: &str) -> Result<HeaderValue, ProviderError> {
    let value = HeaderValue::from_str(text)
        .map_err(|_| ProviderError::Answer("a credential has characters that a header cannot have".to_owned()));
    value.map(|mut value| {
        value.set_sensitive(true);
        value
    })
}
