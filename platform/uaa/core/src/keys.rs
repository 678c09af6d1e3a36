//! The keys that sign tokens. One key signs; retired keys stay published until the last of their tokens has ended.
//!
//! The keys are in the database, encrypted with the master key, so that all nodes of one UAA sign with the same key. Each node
//! reads them again every few seconds, and when a token has a key id that the node does not know.

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

/// The shortest time between two reads of the database because of unknown key ids, which a caller can make up.
const RELOAD_INTERVAL: Duration = Duration::from_secs(1);

/// The time for which a retired key is published after the end of its last token, because the clocks of verifiers differ.
const CLOCK_MARGIN: Duration = Duration::from_secs(60);

/// The signing key and the published keys. Clones share them.
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
    ring: RwLock<Arc<KeyRing>>,
    /// The time of the last read because of an unknown key id.
    looked: parking_lot::Mutex<std::time::Instant>,
}

/// The keys at one time.
struct KeyRing {
    active: SigningKey,
    /// The time when the active key was created, in milliseconds since 1970.
    created_at: i64,
    published: KeySet,
    /// The bodies of `GET /token_keys` and `GET /token_key`.
    documents: (Bytes, Bytes),
    /// The ids of the keys in the database, and the times of their retirement. A change of them is seen by comparison.
    state: Vec<(String, Option<i64>)>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KeyRing")
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

/// The settings of the keys.
#[derive(Debug)]
pub struct KeysConfig {
    /// The URL at which the keys are published, which tokens carry as `jku`.
    pub jku: String,
    /// The longest life time of an access token. A retired key is published for this time.
    pub longest_access: Duration,
    /// The age at which a new key replaces the present one; `None` for never.
    pub rotation: Option<Duration>,
}

impl Keys {
    /// Reads the keys. Creates the first key if there is none.
    pub async fn open(
        store: Store,
        master: MasterKey,
        config: KeysConfig,
        clock: Clock,
        tasks: Tasks,
    ) -> Result<Self, Error> {
        if store.keys(0).await?.iter().all(|key| key.retired_at.is_some()) {
            let fresh = new_key(&master, &clock, &tasks).await?;
            // If another node was faster, its key is the first key, and this one is dropped.
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

    fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.shared.ring.read())
    }

    /// Returns a token with these claims, signed with the present key.
    pub fn sign(&self, claims: &Map<String, Value>) -> String {
        self.ring().active.sign(&self.shared.jku, claims)
    }

    /// Checks that one of the keys has signed the token. Only RS256 is accepted: the header must not choose the algorithm.
    pub async fn verify(&self, token: &Jwt<'_>) -> Result<(), Flaw> {
        if token.algorithm() != Some(Algorithm::Rs256) {
            return Err(Flaw::Algorithm);
        }
        let kid = token.key_id().ok_or(Flaw::NoKey)?;
        let mut ring = self.ring();
        // Another node may have a new key since the last read.
        if !ring.published.knows(Some(kid)) && self.may_reload() {
            if let Err(error) = self.reload().await {
                tracing::warn!(error = %weir_error::chain(&error), "signing keys cannot be read");
            }
            ring = self.ring();
        }
        ring.published.verify(token)
    }

    fn may_reload(&self) -> bool {
        let now = self.shared.clock.instant();
        let mut looked = self.shared.looked.lock();
        let may = now.saturating_duration_since(*looked) >= RELOAD_INTERVAL;
        if may {
            *looked = now;
        }
        may
    }

    /// Returns the body of `GET /token_keys`.
    pub fn document(&self) -> Bytes {
        self.ring().documents.0.clone()
    }

    /// Returns the body of `GET /token_key`.
    pub fn active_document(&self) -> Bytes {
        self.ring().documents.1.clone()
    }

    /// Returns the id of the key that signs now.
    pub fn active_kid(&self) -> String {
        self.ring().active.id().to_owned()
    }

    /// Reads the keys from the database, and replaces those in memory if they have changed.
    pub async fn reload(&self) -> Result<(), Error> {
        let shared = &self.shared;
        let known = self.ring();
        if let Some(ring) = load(&shared.store, &shared.master, &shared.clock, Some(&known)).await? {
            *shared.ring.write() = Arc::new(ring);
        }
        Ok(())
    }

    /// Creates a new signing key. The present key stays published until its tokens have ended. Returns the id of the new key.
    pub async fn rotate(&self) -> Result<String, Error> {
        let present = self.active_kid();
        self.replace(&present).await?;
        Ok(self.active_kid())
    }

    /// Replaces the present key if it is old enough, and removes keys that are not published any more.
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

    /// Replaces the key `kid`, unless another node has replaced it.
    async fn replace(&self, kid: &str) -> Result<(), Error> {
        let shared = &self.shared;
        let fresh = new_key(&shared.master, &shared.clock, &shared.tasks).await?;
        let now = now_millis(&shared.clock);
        let published_until = now + millis(shared.longest_access + CLOCK_MARGIN);
        shared.store.replace_key(kid, &fresh, now, published_until).await?;
        self.reload().await
    }
}

/// Returns the keys in the database, or `None` if they are those of `known`.
async fn load(
    store: &Store,
    master: &MasterKey,
    clock: &Clock,
    known: Option<&KeyRing>,
) -> Result<Option<KeyRing>, Error> {
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
    // The present key comes first, because some clients read only the first key.
    published.sort_by_key(|key| key.id() != active.id());
    let list: Vec<Value> = published.iter().map(PublicKey::document).collect();
    let present = list.first().map(Value::to_string).unwrap_or_default();
    let all = json!({ "keys": list }).to_string();
    Ok(Some(KeyRing {
        active,
        created_at,
        published: published.iter().map(PublicKey::key).collect(),
        documents: (all.into(), present.into()),
        state,
    }))
}

/// Returns a new key, encrypted with the master key.
async fn new_key(master: &MasterKey, clock: &Clock, tasks: &Tasks) -> Result<StoredKey, Error> {
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
