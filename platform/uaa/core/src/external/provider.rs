//! One provider: what it says about itself, its keys, its answers.

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

/// How long what a provider says about itself is believed.
const METADATA_AGE: Duration = Duration::from_secs(3600);

/// How often its keys are asked for, at most.
const KEYS_EVERY: Duration = Duration::from_secs(5);

/// How far its clock may be from ours (seconds).
const LEEWAY: i64 = 60;

/// A provider did not do as it should. The text is for operators and has no secrets.
#[derive(Debug, Clone, Error)]
pub enum ProviderError {
    /// The provider cannot be reached.
    #[error(transparent)]
    Https(#[from] HttpsError),
    /// The provider says something that makes no sense, or refuses.
    #[error("{0}")]
    Answer(String),
    /// The provider's token is not to be believed.
    #[error("the id token is refused: {_0}")]
    Token(Flaw),
}

/// Who somebody is at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The id of the user there (`sub`).
    pub subject: String,
    /// The name that the user has here.
    pub user_name: String,
    /// The address.
    pub email: Option<String>,
    /// Whether the provider has checked the address.
    pub email_verified: bool,
    /// The first name.
    pub given_name: Option<String>,
    /// The last name.
    pub family_name: Option<String>,
    /// The groups of the user there; `None` if the provider says nothing of groups.
    pub groups: Option<Vec<String>>,
    /// When the user logged in there (seconds since 1970).
    pub auth_time: Option<i64>,
    /// When the provider said all this (seconds since 1970); `None` if it was just now, to us.
    pub said_at: Option<i64>,
}

/// An OpenID Connect provider, with what is known of it.
#[derive(Debug)]
pub struct Provider {
    config: config::Provider,
    https: Https,
    callback: String,
    metadata: Shared<Metadata>,
    keys: Shared<KeySet>,
}

/// What we must know when a browser comes back from a provider.
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
    /// Where the browser goes afterwards.
    pub continue_to: String,
    /// When the browser was sent to the provider (seconds since 1970).
    pub began_at: i64,
    /// How recent the login has to be.
    pub demand: Demand,
}

/// How recent a login must be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// Whether the login has to be later than this request.
    pub login: bool,
    /// At most so long ago (seconds).
    pub max_age: Option<i64>,
}

impl Demand {
    /// Returns the parameters that hand the demand on: `prompt=login`, `max_age=SECONDS`.
    pub fn parameters(self) -> impl Iterator<Item = (&'static str, String)> {
        let login = self.login.then(|| ("prompt", "login".to_owned()));
        let age = self.max_age.map(|age| ("max_age", age.to_string()));
        login.into_iter().chain(age)
    }
}

/// What we read of its discovery document.
#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// What we read of an id token before its claims.
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

/// What we read of its token endpoint's answer.
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

    /// Returns what people see on the login page.
    pub fn title(&self) -> &str {
        &self.config.title
    }

    /// Returns what the provider's tokens say in `iss`.
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Whether groups there give groups here.
    pub fn maps_groups(&self) -> bool {
        self.config.groups_claim.is_some()
    }

    /// The groups here that an identity there gives.
    pub fn groups_of<'p>(&'p self, identity: &'p Identity) -> impl Iterator<Item = &'p str> {
        let groups = identity.groups.iter().flatten();
        let mapped = groups.filter_map(|group| self.config.groups.get(group));
        mapped.flatten().map(String::as_str)
    }

    /// Where a browser goes to log in there.
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

    /// Redeems a code: who has logged in.
    pub async fn redeem(&self, code: &str, login: &ExternalLogin, now: i64) -> Result<Identity, ProviderError> {
        let metadata = self.metadata().await?;
        let (headers, body) = self.redemption(&metadata, code, login)?;
        let url = https_url(&metadata.token_endpoint)?;
        let answer = self.https.send(Method::POST, &url, headers, body).await?;
        if !answer.status.is_success() {
            let reason = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
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

    /// The request that redeems a code, with our secret as the provider wants it.
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

    /// Checks an id token that somebody shows as an assertion: it must be for our client there, or for us.
    pub async fn verify_assertion(&self, assertion: &str, issuer: &str, now: i64) -> Result<Identity, ProviderError> {
        let parsed = Jwt::parse(assertion, LONGEST_TOKEN).map_err(ProviderError::Token)?;
        let (token, claims) = self.verified(&parsed, now, &[&self.config.client_id, issuer]).await?;
        let mut identity = self.identity(&token, &claims)?;
        identity.said_at = Some(token.iat.unwrap_or(0));
        Ok(identity)
    }

    async fn verify(&self, id_token: &str, now: i64) -> Result<(IdToken, Map<String, Value>), ProviderError> {
        let parsed = Jwt::parse(id_token, LONGEST_TOKEN).map_err(ProviderError::Token)?;
        self.verified(&parsed, now, &[&self.config.client_id]).await
    }

    /// Signature, issuer, audience and times.
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

    /// Whether something that we want is not in the id token.
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
        if info.get("sub").and_then(Value::as_str) != Some(subject) {
            return Err(ProviderError::Answer("the user info is of somebody else".to_owned()));
        }
        for (name, value) in info {
            claims.entry(name).or_insert(value);
        }
        Ok(())
    }

    fn identity(&self, token: &IdToken, claims: &Map<String, Value>) -> Result<Identity, ProviderError> {
        let text = |name: &str| {
            let value = claims.get(name).and_then(Value::as_str);
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
            // Otherwise anybody's document would do.
            if metadata.issuer != issuer {
                return Err(ProviderError::Answer(
                    "the discovery document is of another issuer".to_owned(),
                ));
            }
            Ok(metadata)
        };
        self.metadata.get(|_, age| age < METADATA_AGE, fetch).await
    }

    /// Its keys, with the one of this name if it has it.
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
    /// Whether somebody who logged in there at this time (seconds) did so as recently as it was asked for. Only the
    /// provider can tell, and one that was asked for an age must.
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
        // From the beginning on: how long it took to come back is not the provider's.
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
    /// Whether it is for one of these, and was given to our client where it says to whom (OpenID Connect Core, 3.1.3.7).
    fn is_for(&self, audiences: &[&str], client_id: &str) -> bool {
        let party = match &self.azp {
            Some(party) => party == client_id,
            None => self.aud.iter().count() == 1,
        };
        party && audiences.iter().any(|audience| self.aud.contains(audience))
    }
}

/// A header that no log shows.
fn sensitive(text: &str) -> Result<HeaderValue, ProviderError> {
    let value = HeaderValue::from_str(text).map_err(|_| ProviderError::Answer("a credential is odd".to_owned()));
    value.map(|mut value| {
        value.set_sensitive(true);
        value
    })
}
