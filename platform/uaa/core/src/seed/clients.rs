//! The clients of a new installation, and the file with their secrets.
//!
//! The components of a stack read their secrets from the file; the database has hashes. An operator may change either of them,
//! so one rule decides: **an entry of the file is applied if the file never contained it before.** The client gets this secret,
//! and the tokens that it got with others are revoked. For this rule, the database keeps digests of the entries that each
//! client has had in the file, newest first (setting `client secrets`):
//!
//! ```text
//! {"doppler": ["digest of the present entry", "digest of the entry before", …], …}
//! ```
//!
//! Three cases are exceptions from the rule, and the first two are logged with what to do:
//!
//! - There is no file, and the clients exist: the file is on another node, and no secrets are generated.
//! - The file has several entries, contained none of them before, and none is right: it belongs to another database.
//! - There are no digests yet: the present entries are recorded, and change nothing.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_platform_uaa_store::private_file::{self, FileError};
use weir_platform_uaa_store::secrets::{self, MasterKey};
use weir_platform_uaa_store::{Client, EMPTY_SECRET, NO_SECRET, Store};

use super::catalogue::{CLIENTS, SecretKind, Seeded};
use crate::hashing::Hasher;
use crate::{Config, Error};

/// The name of the setting with the digests.
const SETTING: &str = "client secrets";

/// The number of digests that are kept of each client.
const REMEMBERED: usize = 16;

/// The content of the file: secrets by client id.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct SecretsFile(BTreeMap<String, String>);

/// The digests of the entries that each client has had in the file, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Record(BTreeMap<String, Vec<String>>);

impl Record {
    /// Returns how many later entries the client has had in the file after this one; `None` if it never had this one.
    fn age(&self, id: &str, digest: &str) -> Option<usize> {
        self.0.get(id)?.iter().position(|known| known == digest)
    }

    fn note(&mut self, id: &str, digest: String) {
        let digests = self.0.entry(id.to_owned()).or_default();
        digests.insert(0, digest);
        digests.truncate(REMEMBERED);
    }
}

/// An entry of the file whose client exists.
struct Entry<'f> {
    client: Client,
    secret: &'f str,
    digest: String,
}

/// Creates absent clients, and gives existing ones the secrets that are new in the file.
pub(super) async fn seed(store: &Store, hasher: &Hasher, master: &MasterKey, config: &Config) -> Result<(), Error> {
    let path = &config.client_secrets_file;
    let mut file = match private_file::read(path)? {
        Some(text) => Some(parsed(path, &text)?),
        None => None,
    };
    let made = make_absent(store, hasher, config, &mut file).await?;
    let Some(file) = file else {
        tracing::warn!(
            file = %path.display(),
            "the clients have secrets, and the file with them is absent: copy it from the node that was started first; if it \
             is lost, write a file with a new secret for `admin` alone, start again, and give the other clients new secrets \
             with that one"
        );
        return Ok(());
    };
    warn_of_unlisted(path, &file);
    let mut entries = Vec::with_capacity(file.0.len());
    for (id, secret) in &file.0 {
        if let Some(client) = store.client(id).await? {
            let digest = master.sign("client secret", &[id, secret]);
            entries.push(Entry { client, secret, digest });
        }
    }
    let before = record(store).await?;
    let mut record = before.clone().unwrap_or_default();
    if before.is_some() && is_foreign(hasher, &record, &made, &entries).await? {
        tracing::error!(
            file = %path.display(),
            "no secret in the file belongs to a client in this database, so the file is not applied: copy the file from the \
             node that was started first, or give one client the secret that the file has for it"
        );
        return Ok(());
    }
    for entry in entries {
        let id = entry.client.id.clone();
        match record.age(&id, &entry.digest) {
            Some(0) => continue,
            Some(_) => {
                tracing::warn!(
                    client = id,
                    file = %path.display(),
                    "the file has an older secret of the client, which is not applied: copy the newest file, or write a secret \
                     that the client never had"
                );
                continue;
            }
            None => {}
        }
        // A right secret needs no change, and would revoke the client's tokens for nothing.
        let is_applied =
            before.is_none() || made.contains(&id) || is_right(hasher, &entry.client, entry.secret).await?;
        if is_applied || give(store, hasher, &entry).await? {
            record.note(&id, entry.digest);
        }
    }
    if before.as_ref() != Some(&record) {
        let text = serde_json::to_string(&record).expect("a map of texts is JSON");
        store.set_setting(SETTING, &text).await?;
    }
    Ok(())
}

fn warn_of_unlisted(path: &Path, file: &SecretsFile) {
    let unlisted: Vec<&str> = CLIENTS
        .iter()
        .filter(|seeded| seeded.secret == SecretKind::Random && !file.0.contains_key(seeded.id))
        .map(|seeded| seeded.id)
        .collect();
    if !unlisted.is_empty() {
        tracing::warn!(
            clients = unlisted.join(" "),
            file = %path.display(),
            "the file lacks secrets of clients: copy them from another node's file, or give the clients new ones"
        );
    }
}

/// Whether the file seems to belong to another database: it has several entries for clients that existed before this start,
/// contained none of them before, and none is right.
async fn is_foreign(hasher: &Hasher, record: &Record, made: &[String], entries: &[Entry<'_>]) -> Result<bool, Error> {
    let known: Vec<_> = entries
        .iter()
        .filter(|entry| !made.contains(&entry.client.id))
        .collect();
    let said = |entry: &Entry<'_>| record.age(&entry.client.id, &entry.digest).is_some();
    if known.len() < 2 || known.iter().any(|entry| said(entry)) {
        return Ok(false);
    }
    for entry in known {
        if is_right(hasher, &entry.client, entry.secret).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Gives a client the secret of the file, and revokes the tokens that it got with others. Returns `false` if the secret was
/// changed in the database at the same time.
async fn give(store: &Store, hasher: &Hasher, entry: &Entry<'_>) -> Result<bool, Error> {
    let hash = hasher.hash_secret(entry.secret).await.map_err(|_| Error::Hashing)?;
    let given = store.change_client_secrets(&entry.client, &hash, None, true).await?;
    let client = &entry.client.id;
    if given {
        tracing::info!(
            client,
            "the client has the secret of the file now; its earlier tokens are revoked"
        );
    } else {
        tracing::warn!(
            client,
            "the client's secret was changed at the same time, and differs from the file: start again to apply the file"
        );
    }
    Ok(given)
}

/// Creates absent clients with the secrets of the file, and generates the secrets that it lacks. Returns the ids of the clients
/// that this node created: of several nodes that start at the same time, one creates each client.
async fn make_absent(
    store: &Store,
    hasher: &Hasher,
    config: &Config,
    file: &mut Option<SecretsFile>,
) -> Result<Vec<String>, Error> {
    let path = &config.client_secrets_file;
    let mut absent = Vec::new();
    for seeded in CLIENTS {
        if store.client(seeded.id).await?.is_none() {
            absent.push(seeded);
        }
    }
    let mut made = Vec::new();
    for seeded in &absent {
        let mut generated = false;
        let hash = match seeded.secret {
            SecretKind::Empty => EMPTY_SECRET.to_owned(),
            SecretKind::Random => {
                let secret;
                (secret, generated) = secret_for(path, file, seeded.id, &absent)?;
                hasher.hash_secret(&secret).await.map_err(|_| Error::Hashing)?
            }
        };
        if store.add_client(&seeded.client(config, hash, store.now())).await? {
            made.push(seeded.id.to_owned());
        } else if let Some(file) = file.as_mut().filter(|_| generated) {
            // Another node created the client with its own secret, so the generated one must not stay in the file.
            file.0.remove(seeded.id);
            private_file::replace(path, &written(file))?;
        }
    }
    Ok(made)
}

/// Returns the secret in the file for a client that is to be created, and whether it was generated now. It is written to the
/// file before the client exists, because the database keeps only its hash.
fn secret_for(
    path: &Path,
    file: &mut Option<SecretsFile>,
    id: &str,
    absent: &[&Seeded],
) -> Result<(String, bool), Error> {
    let file = match file {
        Some(file) => file,
        None => {
            // Several nodes may share the path. One creates the file, and all read it.
            let text = private_file::read_or_create(path, || {
                let random = absent.iter().filter(|seeded| seeded.secret == SecretKind::Random);
                let fresh = random.map(|seeded| (seeded.id.to_owned(), secrets::random_readable::<32>()));
                written(&SecretsFile(fresh.collect()))
            })?;
            file.insert(parsed(path, &text)?)
        }
    };
    if let Some(secret) = file.0.get(id) {
        return Ok((secret.clone(), false));
    }
    let secret = secrets::random_readable::<32>();
    file.0.insert(id.to_owned(), secret.clone());
    private_file::replace(path, &written(file))?;
    Ok((secret, true))
}

/// Whether `secret` is one of the client's secrets.
async fn is_right(hasher: &Hasher, client: &Client, secret: &str) -> Result<bool, Error> {
    for hash in [Some(&client.secret_hash), client.second_hash.as_ref()]
        .into_iter()
        .flatten()
    {
        let right = match hash.as_str() {
            EMPTY_SECRET => secret.is_empty(),
            NO_SECRET => false,
            hash => hasher
                .verify_secret(Some(hash), secret)
                .await
                .map_err(|_| Error::Hashing)?,
        };
        if right {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns the recorded digests; `None` if there are none, or they have another form.
async fn record(store: &Store) -> Result<Option<Record>, Error> {
    let text = store.setting(SETTING).await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

fn parsed(path: &Path, text: &str) -> Result<SecretsFile, Error> {
    let unreadable = |_| FileError::Content {
        path: path.to_owned(),
        wanted: "JSON object of client ids and secrets",
    };
    Ok(serde_json::from_str(text).map_err(unreadable)?)
}

fn written(file: &SecretsFile) -> String {
    let mut text = serde_json::to_string_pretty(file).expect("a map of texts is JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry is new if the client never had it, and the number of recorded digests is limited.
    #[test]
    fn only_entries_that_never_were_in_the_file_are_new() {
        let mut record = Record::default();
        record.note("a", "1".to_owned());
        record.note("a", "2".to_owned());
        assert_eq!(
            (record.age("a", "2"), record.age("a", "1"), record.age("a", "3")),
            (Some(0), Some(1), None)
        );
        assert_eq!(record.age("b", "1"), None);
        for number in 0..100 {
            record.note("a", number.to_string());
        }
        assert_eq!(record.0["a"].len(), REMEMBERED);
    }
}
