//! The clients that are there from the start, and the file with their secrets.
//!
//! The components of a stack read their secrets from the file; the database has hashes. Who changes one of the two means
//! it, so one rule decides: **an entry of the file counts if the file never said it before.** Then it is the client's secret,
//! and what was issued with another one ends. For that the database keeps digests of what the file said of each client,
//! the newest first (setting `client secrets`):
//!
//! ```text
//! {"doppler": ["digest of what it says now", "of what it said before", …], …}
//! ```
//!
//! Three cases are set aside before the rule, and each is logged with what to do:
//!
//! - There is no file, and the clients are there: their secrets are elsewhere, and none are made up.
//! - The file never said any of its entries, has several of them, and none is right: it belongs to another database.
//! - There are no digests yet: what the file says now is where the record begins, and changes nothing.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use weir_platform_uaa_store::private_file::{self, FileError};
use weir_platform_uaa_store::secrets::{self, MasterKey};
use weir_platform_uaa_store::{Client, EMPTY_SECRET, NO_SECRET, Store};

use super::catalogue::{CLIENTS, SecretKind, Seeded};
use crate::hashing::Hasher;
use crate::{Config, Error};

/// The setting that has the digests.
const SETTING: &str = "client secrets";

/// How many digests are kept of each client.
const REMEMBERED: usize = 16;

/// The file: secrets by client.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct SecretsFile(BTreeMap<String, String>);

/// Digests of what the file said of each client, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Record(BTreeMap<String, Vec<String>>);

impl Record {
    /// How many entries the file had for the client after it had this one; `None` if it never had it.
    fn age(&self, id: &str, digest: &str) -> Option<usize> {
        self.0.get(id)?.iter().position(|known| known == digest)
    }

    fn note(&mut self, id: &str, digest: String) {
        let digests = self.0.entry(id.to_owned()).or_default();
        digests.insert(0, digest);
        digests.truncate(REMEMBERED);
    }
}

/// An entry of the file for a client that exists.
struct Entry<'f> {
    client: Client,
    secret: &'f str,
    digest: String,
}

/// Makes absent clients, and gives the others what is new in the file.
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
            "the clients have their secrets already, and the file with them is not here: copy it from where this UAA was \
             started first; if it is lost, write a new secret for `admin` alone into it, start again, and give the others \
             new ones with that"
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
            "no secret in the file is one of this database's clients, so none of it counts: copy the file from where this \
             UAA was started first, or give a client the secret that the file has for it"
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
                    "the file has an older secret of the client, which does not count any more: copy the newest file, or \
                     change the secret to one that it never was"
                );
                continue;
            }
            None => {}
        }
        let stands = before.is_none() || made.contains(&id) || is_right(hasher, &entry.client, entry.secret).await?;
        if stands || give(store, hasher, &entry).await? {
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

/// Whether the file seems to be of another database: it has several entries for clients that were there before, it never
/// said any of them, and none is right.
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

/// Gives a client the secret of the file, and ends what was issued with others; `false` if it was changed at this moment.
async fn give(store: &Store, hasher: &Hasher, entry: &Entry<'_>) -> Result<bool, Error> {
    let hash = hasher.hash_secret(entry.secret).await.map_err(|_| Error::Hashing)?;
    let given = store.change_client_secrets(&entry.client, &hash, None, true).await?;
    let client = &entry.client.id;
    if given {
        tracing::info!(
            client,
            "the client has the secret of the file now; what it was issued with others is revoked"
        );
    } else {
        tracing::warn!(
            client,
            "the client's secret was changed at this moment, and is not the file's: start again to give it that"
        );
    }
    Ok(given)
}

/// Makes the clients that are not there, with the file's secrets; those that it does not have are made up. Returns which
/// were made here: of several nodes that start at once, one makes each.
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
        let mut made_up = false;
        let hash = match seeded.secret {
            SecretKind::Empty => EMPTY_SECRET.to_owned(),
            SecretKind::Random => {
                let secret;
                (secret, made_up) = secret_for(path, file, seeded.id, &absent)?;
                hasher.hash_secret(&secret).await.map_err(|_| Error::Hashing)?
            }
        };
        if store.add_client(&seeded.client(config, hash, store.now())).await? {
            made.push(seeded.id.to_owned());
        } else if let Some(file) = file.as_mut().filter(|_| made_up) {
            file.0.remove(seeded.id);
            private_file::replace(path, &written(file))?;
        }
    }
    Ok(made)
}

/// The secret that the file has for a client that is to be made, and whether it was made up just now. It is in the file
/// before the client has it: afterwards nobody could find out what it was.
fn secret_for(
    path: &Path,
    file: &mut Option<SecretsFile>,
    id: &str,
    absent: &[&Seeded],
) -> Result<(String, bool), Error> {
    let file = match file {
        Some(file) => file,
        None => {
            // Of several nodes that begin with one file, one makes it.
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

/// Whether this is one of the client's secrets.
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

/// What is known of what the file said; `None` if nothing was ever noted, or by a program that noted it otherwise.
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

    /// New is what was never there, whatever came after it; the record has an end.
    #[test]
    fn what_is_new() {
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
