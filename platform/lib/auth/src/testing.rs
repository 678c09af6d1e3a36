//! An issuer for tests: it signs with two keys that everybody knows, and can be made to fail.

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
use crate::revocation::{Page, Revocation, What};
use crate::rights::{Bearer, ByRights};
use crate::{UaaConfig, Verifier};

/// The claim `iss` of every token that is minted here.
pub const ISSUER: &str = "https://uaa.test/oauth/token";

/// A UAA that exists in memory only.
pub struct TestIssuer {
    pairs: [SigningKey; 2],
    /// Which keys are published, and which of them signs.
    published: Mutex<Vec<usize>>,
    signing: Mutex<usize>,
    revocations: Mutex<Vec<Revocation>>,
    tokens: AtomicU64,
    away: AtomicBool,
    feed_away: AtomicBool,
    missing: AtomicBool,
    fetches: AtomicU64,
    /// By user.
    rights: Mutex<HashMap<String, Vec<String>>>,
    questions: AtomicU64,
}

impl TestIssuer {
    /// An issuer that signs with its first key.
    ///
    /// # Panics
    /// Never: its keys are part of it.
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

    /// The claims of a fresh token of user `name` with these scopes, good for ten minutes.
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

    /// A fresh token of user `name` with these scopes.
    #[must_use]
    pub fn token(&self, name: &str, scopes: &[&str]) -> String {
        self.sign(&self.claims(name, scopes))
    }

    /// Any claims as a token.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        let signing = *self.signing.lock();
        self.sign_as(
            &json!({"alg": "RS256", "typ": "JWT", "kid": kid(signing)}),
            claims,
            signing,
        )
    }

    /// Any header and claims, signed with one of the two keys.
    ///
    /// # Panics
    /// When there is no such key.
    #[must_use]
    pub fn sign_as(&self, header: &Value, claims: &Value, key: usize) -> String {
        self.sign_text(&header.to_string(), &claims.to_string(), key)
    }

    /// Any two texts as a token, signed with one of the two keys.
    ///
    /// # Panics
    /// When there is no such key.
    #[must_use]
    pub fn sign_text(&self, header: &str, claims: &str, key: usize) -> String {
        self.pairs[key].sign_text(header, claims)
    }

    /// The public half of one of the two keys, DER (`RSAPublicKey`).
    #[must_use]
    pub fn public_der(&self, key: usize) -> Vec<u8> {
        self.pairs[key].public().der().to_vec()
    }

    /// Signs with the second key from now on; the first stays published if there is to be an overlap.
    pub fn rotate(&self, overlap: bool) {
        *self.signing.lock() = 1;
        *self.published.lock() = if overlap { vec![0, 1] } else { vec![1] };
    }

    /// Revokes something: what was issued until now, remembered for an hour.
    pub fn revoke(&self, what: What) {
        let now = clock::now_nanos() / 1_000_000_000;
        self.revocations.lock().push(Revocation {
            what,
            before: now,
            until: now + 3600,
        });
    }

    /// Whether it answers.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Whether it says what was revoked, when it answers.
    pub fn set_feed_away(&self, away: bool) {
        self.feed_away.store(away, Ordering::Relaxed);
    }

    /// Whether everything that it is asked for is answered with 404, as by a router that does not know it yet.
    pub fn set_missing(&self, missing: bool) {
        self.missing.store(missing, Ordering::Relaxed);
    }

    /// How often its keys were asked for.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    /// What user `name` may read, with tokens that have the scope `logs.read`.
    pub fn set_rights(&self, name: &str, sources: &[&str]) {
        let sources = sources.iter().map(|source| (*source).to_owned()).collect();
        self.rights.lock().insert(format!("id-of-{name}"), sources);
    }

    /// How often it was asked what somebody may read.
    #[must_use]
    pub fn questions(&self) -> u64 {
        self.questions.load(Ordering::Relaxed)
    }

    /// What `/token_keys` answers.
    #[must_use]
    pub fn jwks(&self) -> String {
        let published = self.published.lock();
        let keys: Vec<Value> = published
            .iter()
            .map(|key| self.pairs[*key].public().document())
            .collect();
        json!({ "keys": keys }).to_string()
    }

    /// The configuration of a verifier for this issuer; it looks for revocations ten times a second.
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

    /// A verifier of its tokens.
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

/// The name of a key.
#[must_use]
pub fn kid(key: usize) -> String {
    format!("key-{}", key + 1)
}

impl Issuer for TestIssuer {
    fn keys(&self) -> Fetched<'_, Keys> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let keys = self
            .present()
            .map(|()| Keys::parse(self.jwks().as_bytes()).expect("our own keys"));
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
