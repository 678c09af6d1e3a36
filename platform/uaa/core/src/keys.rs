//! The keys that sign tokens: one signs, and those before it are published until their last token is over.
//!
//! They live in the database, sealed with the master key, so that all nodes of one UAA sign with the same. Each node
//! looks for changes every few seconds, and at once when it meets a key that it does not know.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use serde_json::{Map, Value, json};
use weir_jose::{Algorithm, Flaw, Jwt, KeySet, PublicKey, SigningKey};
use weir_service::{Clock, Tasks};

use crate::Error;

mod generate;

use generate::generate;
use weir_platform_uaa_store::secrets::MasterKey;
use weir_platform_uaa_store::{Store, StoredKey};

/// How often a key that is not known makes us look into the database.
const LOOK: Duration = Duration::from_secs(1);

/// How long a retired key is published beyond the longest token: clocks differ.
const MARGIN: Duration = Duration::from_secs(60);

/// The keys that sign and those that are still published. Clones share them.
#[derive(Debug, Clone)]
pub struct Keys {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    master: MasterKey,
    clock: Clock,
    tasks: Tasks,
    jku: String,
    longest_access: Duration,
    rotation: Option<Duration>,
    ring: RwLock<Arc<Ring>>,
    looked: parking_lot::Mutex<std::time::Instant>,
}

/// What is known of the keys at one time.
struct Ring {
    active: SigningKey,
    /// When the active key was made (milliseconds since 1970).
    created_at: i64,
    published: KeySet,
    /// `GET /token_keys` and `GET /token_key`.
    documents: (Bytes, Bytes),
    /// The keys in the database that this was made of, and since when they are retired.
    state: Vec<(String, Option<i64>)>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Ring")
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

/// The settings of the keys.
#[derive(Debug)]
pub struct KeysConfig {
    /// The address at which the keys are published, which tokens name.
    pub jku: String,
    /// How long an access token is good for at most: a retired key is published for that long.
    pub longest_access: Duration,
    /// When a new key replaces the present one; `None` for never.
    pub rotation: Option<Duration>,
}

impl Keys {
    /// Reads the keys; makes the first one if there is none.
    pub async fn open(
        store: Store,
        master: MasterKey,
        config: KeysConfig,
        clock: Clock,
        tasks: Tasks,
    ) -> Result<Self, Error> {
        if store.keys(0).await?.iter().all(|key| key.retired_at.is_some()) {
            let fresh = fresh(&master, &clock, &tasks).await?;
            // Another node may have been first: then that key is the one.
            store.add_first_key(&fresh).await?;
        }
        let ring = load(&store, &master, &clock, None).await?.ok_or(Error::NoKey)?;
        Ok(Self {
            shared: Arc::new(Shared {
                store,
                master,
                looked: parking_lot::Mutex::new(clock.instant()),
                clock,
                tasks,
                jku: config.jku,
                longest_access: config.longest_access,
                rotation: config.rotation,
                ring: RwLock::new(Arc::new(ring)),
            }),
        })
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.shared.ring.read())
    }

    /// Signs claims with the present key.
    pub fn sign(&self, claims: &Map<String, Value>) -> String {
        self.ring().active.sign(&self.shared.jku, claims)
    }

    /// Whether one of our keys has signed this. RS256 and nothing else: what the header says of it only has to agree.
    pub async fn verify(&self, token: &Jwt<'_>) -> Result<(), Flaw> {
        if token.algorithm() != Some(Algorithm::Rs256) {
            return Err(Flaw::Algorithm);
        }
        let kid = token.key_id().ok_or(Flaw::NoKey)?;
        let mut ring = self.ring();
        if !ring.published.knows(Some(kid)) && self.may_look() {
            if let Err(error) = self.reload().await {
                tracing::warn!(error = %weir_error::chain(&error), "signing keys cannot be read");
            }
            ring = self.ring();
        }
        ring.published.verify(token)
    }

    fn may_look(&self) -> bool {
        let now = self.shared.clock.instant();
        let mut looked = self.shared.looked.lock();
        let may = now.saturating_duration_since(*looked) >= LOOK;
        if may {
            *looked = now;
        }
        may
    }

    /// The body of `GET /token_keys`.
    pub fn document(&self) -> Bytes {
        self.ring().documents.0.clone()
    }

    /// The body of `GET /token_key`.
    pub fn active_document(&self) -> Bytes {
        self.ring().documents.1.clone()
    }

    /// Returns the id of the key that signs now.
    pub fn active_kid(&self) -> String {
        self.ring().active.id().to_owned()
    }

    /// Reads the keys from the database again, if they changed there.
    pub async fn reload(&self) -> Result<(), Error> {
        let shared = &self.shared;
        let known = self.ring();
        if let Some(ring) = load(&shared.store, &shared.master, &shared.clock, Some(&known)).await? {
            *shared.ring.write() = Arc::new(ring);
        }
        Ok(())
    }

    /// Makes a new key and signs with it from now on. The present one is published until its tokens are over.
    pub async fn rotate(&self) -> Result<String, Error> {
        let present = self.active_kid();
        self.replace(&present).await?;
        Ok(self.active_kid())
    }

    /// Rotates if the present key is old enough, and forgets keys that nobody needs any more.
    pub async fn maintain(&self) -> Result<(), Error> {
        self.reload().await?;
        let (kid, age) = {
            let ring = self.ring();
            let age = now_millis(&self.shared.clock) - ring.created_at;
            (
                ring.active.id().to_owned(),
                Duration::from_millis(u64::try_from(age).unwrap_or(0)),
            )
        };
        if self.shared.rotation.is_some_and(|rotation| age >= rotation) {
            self.replace(&kid).await?;
            tracing::info!(kid = self.active_kid(), "a new key signs tokens");
        }
        self.shared.store.forget_keys(now_millis(&self.shared.clock)).await?;
        Ok(())
    }

    /// Replaces the key `kid`, unless another node has done so.
    async fn replace(&self, kid: &str) -> Result<(), Error> {
        let shared = &self.shared;
        let fresh = fresh(&shared.master, &shared.clock, &shared.tasks).await?;
        let now = now_millis(&shared.clock);
        let published_until = now + millis(shared.longest_access + MARGIN);
        shared.store.replace_key(kid, &fresh, now, published_until).await?;
        self.reload().await
    }
}

/// The keys as they are in the database; `None` if they are those that are known.
async fn load(store: &Store, master: &MasterKey, clock: &Clock, known: Option<&Ring>) -> Result<Option<Ring>, Error> {
    let stored = store.keys(now_millis(clock)).await?;
    let state = stored.iter().map(|key| (key.kid.clone(), key.retired_at)).collect();
    if known.is_some_and(|known| known.state == state) {
        return Ok(None);
    }
    let mut published: Vec<PublicKey> = Vec::new();
    let mut active: Option<(SigningKey, i64)> = None;
    for key in stored {
        let plain = master
            .open(&purpose(&key.kid), &key.sealed)
            .ok_or_else(|| Error::ForeignKey { kid: key.kid.clone() })?;
        let pair = SigningKey::from_pkcs8(Some(&key.kid), &plain);
        let pair = pair.ok_or_else(|| Error::ForeignKey { kid: key.kid.clone() })?;
        published.push(pair.public());
        if key.retired_at.is_none()
            && active
                .as_ref()
                .is_none_or(|(_, created_at)| *created_at < key.created_at)
        {
            active = Some((pair, key.created_at));
        }
    }
    let (active, created_at) = active.ok_or(Error::NoKey)?;
    // Who reads one key only reads the present one first.
    published.sort_by_key(|key| key.id() != active.id());
    let list: Vec<Value> = published.iter().map(PublicKey::document).collect();
    let present = list.first().map(Value::to_string).unwrap_or_default();
    let all = json!({ "keys": list }).to_string();
    Ok(Some(Ring {
        active,
        created_at,
        published: published.iter().map(PublicKey::key).collect(),
        documents: (all.into(), present.into()),
        state,
    }))
}

async fn fresh(master: &MasterKey, clock: &Clock, tasks: &Tasks) -> Result<StoredKey, Error> {
    let made = tasks.spawn_blocking("making a signing key", generate).await;
    let plain = made.map_err(|_| Error::NoKey)?.ok_or(Error::NoKey)?;
    let kid = SigningKey::from_pkcs8(None, &plain)
        .ok_or(Error::NoKey)?
        .id()
        .to_owned();
    Ok(StoredKey {
        sealed: master.seal(&purpose(&kid), &plain),
        kid,
        created_at: now_millis(clock),
        retired_at: None,
    })
}

fn purpose(kid: &str) -> String {
    format!("signing key {kid}")
}

fn now_millis(clock: &Clock) -> i64 {
    clock.now_nanos() / 1_000_000
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
