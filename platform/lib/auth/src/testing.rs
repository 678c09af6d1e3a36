//! An issuer for tests, which signs with two public test keys and can be made to fail.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use weir_jose::SigningKey;
use weir_service::{Shutdown, Tasks, clock};

use crate::issuer::{Fetched, Issuer, IssuerError};
use crate::keys::Keys;
use crate::revocation::{Page, Revocation, Revoked};
use crate::rights::{Bearer, ByRights};
use crate::{UaaConfig, Verifier};

/// The claim `iss` of every token of this issuer.
pub const ISSUER: &str = "https://uaa.test/oauth/token";

/// A UAA in memory.
pub struct TestIssuer {
    pairs: [SigningKey; 2],
    /// The indices of the keys that are published.
    published: Mutex<Vec<usize>>,
    /// The index of the key that signs.
    signing: Mutex<usize>,
    revocations: Mutex<Vec<Revocation>>,
    tokens: AtomicU64,
    away: AtomicBool,
    feed_away: AtomicBool,
    missing: AtomicBool,
    fetches: AtomicU64,
    /// The sources that each user may read, by user id.
    rights: Mutex<HashMap<String, Vec<String>>>,
    questions: AtomicU64,
}

impl TestIssuer {
    /// An issuer that signs with its first key.
    ///
    /// # Panics
    /// Never, because its keys are compiled in.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let pair = |index: usize, text: &str| {
            let der = STANDARD
                .decode(text.replace('\n', ""))
                .expect("the file of the key is base64");
            SigningKey::from_pkcs8(Some(&kid(index)), &der).expect("the file of the key is PKCS #8")
        };
        Arc::new(Self {
            pairs: [
                pair(0, include_str!("testing/key-1.b64")),
                pair(1, include_str!("testing/key-2.b64")),
            ],
            published: Mutex::new(vec![0]),
            signing: Mutex::new(0),
            revocations: Mutex::default(),
            tokens: AtomicU64::new(0),
            away: AtomicBool::new(false),
            feed_away: AtomicBool::new(false),
            missing: AtomicBool::new(false),
            fetches: AtomicU64::new(0),
            rights: Mutex::default(),
            questions: AtomicU64::new(0),
        })
    }

    /// The claims of a new token of user `name` with these scopes, valid for ten minutes.
    #[must_use]
    pub fn claims(&self, name: &str, scopes: &[&str]) -> Value {
        let now = clock::now_nanos() / 1_000_000_000;
        let number = self.tokens.fetch_add(1, Ordering::Relaxed);
        let mut audiences: Vec<&str> = scopes
            .iter()
            .filter_map(|scope| scope.rsplit_once('.').map(|(audience, _)| audience))
            .chain(["cf"])
            .collect();
        audiences.dedup();
        json!({
            "jti": format!("token-{number}"), "iss": ISSUER, "aud": audiences, "scope": scopes,
            "iat": now, "exp": now + 600, "zid": "uaa", "rev_sig": format!("digest of {name}"),
            "client_id": "cf", "cid": "cf", "azp": "cf", "grant_type": "password",
            "sub": format!("id-of-{name}"), "user_id": format!("id-of-{name}"), "user_name": name, "origin": "uaa",
        })
    }

    /// A new token of user `name` with these scopes.
    #[must_use]
    pub fn token(&self, name: &str, scopes: &[&str]) -> String {
        self.sign(&self.claims(name, scopes))
    }

    /// A token with any claims, signed with the current key.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        let signing = *self.signing.lock();
        self.sign_as(
            &json!({"alg": "RS256", "typ": "JWT", "kid": kid(signing)}),
            claims,
            signing,
        )
    }

    /// A token with any header and claims, signed with one of the two keys.
    ///
    /// # Panics
    /// When there is no such key.
    #[must_use]
    pub fn sign_as(&self, header: &Value, claims: &Value, key: usize) -> String {
        self.sign_text(&header.to_string(), &claims.to_string(), key)
    }

    /// A token with any texts as header and claims, signed with one of the two keys.
    ///
    /// # Panics
    /// When there is no such key.
    #[must_use]
    pub fn sign_text(&self, header: &str, claims: &str, key: usize) -> String {
        self.pairs[key].sign_text(header, claims)
    }

    /// The public key of one of the two pairs, in DER (`RSAPublicKey`).
    #[must_use]
    pub fn public_der(&self, key: usize) -> Vec<u8> {
        self.pairs[key].public().der().to_vec()
    }

    /// Signs with the second key from now on. The first key stays published if `overlap` is true.
    pub fn rotate(&self, overlap: bool) {
        *self.signing.lock() = 1;
        *self.published.lock() = if overlap { vec![0, 1] } else { vec![1] };
    }

    /// Revokes the named tokens that were issued until now. The revocation lasts for an hour.
    pub fn revoke(&self, revoked: Revoked) {
        let now = clock::now_nanos() / 1_000_000_000;
        self.revocations.lock().push(Revocation {
            revoked,
            before: now,
            until: now + 3600,
        });
    }

    /// Sets whether the issuer is unreachable.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Sets whether the issuer refuses to answer requests for revocations.
    pub fn set_feed_away(&self, away: bool) {
        self.feed_away.store(away, Ordering::Relaxed);
    }

    /// Sets whether every request is answered with "not found", as by a router that does not know the issuer yet.
    pub fn set_missing(&self, missing: bool) {
        self.missing.store(missing, Ordering::Relaxed);
    }

    /// The number of fetches of keys.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    /// Sets the sources that user `name` may read with a token that has the scope `logs.read`.
    pub fn set_rights(&self, name: &str, sources: &[&str]) {
        let sources = sources.iter().map(|source| (*source).to_owned()).collect();
        self.rights.lock().insert(format!("id-of-{name}"), sources);
    }

    /// The number of requests for the rights of a bearer.
    #[must_use]
    pub fn questions(&self) -> u64 {
        self.questions.load(Ordering::Relaxed)
    }

    /// The answer of `/token_keys`.
    #[must_use]
    pub fn jwks(&self) -> String {
        let published = self.published.lock();
        let keys: Vec<Value> = published
            .iter()
            .map(|key| self.pairs[*key].public().document())
            .collect();
        json!({ "keys": keys }).to_string()
    }

    /// The configuration of a verifier for this issuer, which reads revocations ten times a second.
    #[must_use]
    pub fn config(&self) -> UaaConfig {
        UaaConfig {
            url: http::Uri::from_static("https://uaa.test"),
            issuer: ISSUER.to_owned(),
            ca: std::path::PathBuf::new(),
            server_name: "uaa.test".to_owned(),
            audiences: ["doppler", "logs", "cloud_controller"].map(str::to_owned).to_vec(),
            client: None,
            leeway: Duration::from_secs(5),
            keys_interval: Duration::from_secs(30),
            revocations_interval: Duration::from_millis(100),
        }
    }

    /// A verifier of the tokens of this issuer.
    #[must_use]
    pub fn verifier(self: &Arc<Self>, shutdown: &Shutdown, tasks: &Tasks) -> Arc<Verifier> {
        Verifier::start(
            &self.config(),
            Arc::<Self>::clone(self),
            Arc::new(ByRights::new(Arc::<Self>::clone(self), weir_service::Clock::system())),
            weir_service::Clock::system(),
            shutdown,
            tasks,
        )
    }

    /// The error that the issuer is set to answer with, if there is one.
    fn present(&self) -> Result<(), IssuerError> {
        if self.missing.load(Ordering::Relaxed) {
            return Err(IssuerError::Missing {
                url: "https://uaa.test".to_owned(),
            });
        }
        if self.away.load(Ordering::Relaxed) {
            return Err(IssuerError::Unreachable {
                url: "https://uaa.test".to_owned(),
                reason: "it is away".to_owned(),
            });
        }
        Ok(())
    }
}

/// The name of the key with this index.
#[must_use]
pub fn kid(key: usize) -> String {
    format!("key-{}", key + 1)
}

impl Issuer for TestIssuer {
    fn keys(&self) -> Fetched<'_, Keys> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let keys = self
            .present()
            .map(|()| Keys::parse(self.jwks().as_bytes()).expect("the keys of the test issuer"));
        Box::pin(async { keys })
    }

    fn revocations(&self, since: u64, _wait: Duration) -> Fetched<'_, Page> {
        let answers = || match self.feed_away.load(Ordering::Relaxed) {
            true => Err(IssuerError::Answer {
                url: "https://uaa.test".to_owned(),
                reason: "it answered 401".to_owned(),
            }),
            false => Ok(()),
        };
        let page = self.present().and_then(|()| answers()).map(|()| {
            let all = self.revocations.lock();
            Page {
                revocations: all
                    .iter()
                    .skip(usize::try_from(since).unwrap_or(usize::MAX))
                    .cloned()
                    .collect(),
                next: all.len() as u64,
                more: false,
            }
        });
        Box::pin(async { page })
    }

    fn rights<'a>(&'a self, bearer: &'a Bearer) -> Fetched<'a, Vec<String>> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let user = bearer.user_id.as_deref().unwrap_or_default();
        let rights = self
            .present()
            .map(|()| self.rights.lock().get(user).cloned().unwrap_or_default());
        Box::pin(async { rights })
    }
}

impl fmt::Debug for TestIssuer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TestIssuer").finish_non_exhaustive()
    }
}
