//! The clients that are there from the start, and the file with their secrets.
//!
//! The components of a stack read their secrets from the file; the database has hashes. Who changes one of the two means
//! it, so an entry of the file is given to its client when it is another than any before, and at no other time: what the
//! API changed since then stays. For that the database keeps digests of what the file said of each client, the newest
//! and some before it (setting `client secrets`):
//!
//! ```text
//! {"doppler": ["digest of what it says now", "of what it said before", …], …}
//! ```
//!
//! | The file | What happens |
//! |---|---|
//! | is absent, and so are the clients | it is made, with random secrets |
//! | is absent, and the clients are there | nothing: their secrets are elsewhere |
//! | says something new of a client | that is its secret now, and what was issued before is revoked |
//! | says what it said before something newer | nothing: it is an old copy |
//! | says nothing that was ever said | nothing: it is of another database |
//!
//! What is not done is said, with what to do.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::catalogue::{CLIENTS, SecretKind, Seeded};
use crate::hashing::Hasher;
use crate::private_file::{self, FileError};
use crate::secrets::{self, MasterKey};
use crate::store::{Client, EMPTY_SECRET, NO_SECRET, Store};
use crate::{Config, Error};

/// Where the digests are.
const SETTING: &str = "client secrets";

/// How many of what the file said of a client are known.
const REMEMBERED: usize = 16;

/// The file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
struct SecretsFile(BTreeMap<String, String>);

/// What the file said of each client, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Said(BTreeMap<String, Vec<String>>);

/// What an entry of the file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    /// What it was the last time.
    Same,
    /// What it was before it became something else.
    Old,
    /// Something that it never was.
    New,
}

impl Said {
    fn entry(&self, id: &str, digest: &str) -> Entry {
        let said = self.0.get(id).map(Vec::as_slice).unwrap_or_default();
        match said.iter().position(|known| known == digest) {
            Some(0) => Entry::Same,
            Some(_) => Entry::Old,
            None => Entry::New,
        }
    }

    fn says(&mut self, id: &str, digest: String) {
        let said = self.0.entry(id.to_owned()).or_default();
        said.retain(|known| *known != digest);
        said.insert(0, digest);
        said.truncate(REMEMBERED);
    }

    /// Whether a file with these digests seems to have nothing to do with what was said: of at least two clients it says
    /// what nobody ever said, and of none what somebody did.
    fn is_foreign<'d>(&self, digests: impl Iterator<Item = (&'d str, &'d str)>) -> bool {
        let (mut count, mut strange) = (0, 0);
        for (id, digest) in digests.filter(|(id, _)| self.0.contains_key(*id)) {
            count += 1;
            strange += usize::from(self.entry(id, digest) == Entry::New);
        }
        count >= 2 && strange == count
    }
}

/// Makes absent clients, and gives the others what is new in the file.
pub(super) async fn seed(store: &Store, hasher: &Hasher, master: &MasterKey, config: &Config) -> Result<(), Error> {
    let path = &config.client_secrets_file;
    let mut file = match private_file::read(path)? {
        Some(text) => Some(parsed(path, &text)?),
        None => None,
    };
    let Absent { made, made_elsewhere } = make_absent(store, hasher, config, &mut file).await?;
    let Some(file) = file else {
        tracing::warn!(
            file = %path.display(),
            "the clients have their secrets already, and the file with them is not here: copy it from where this UAA was \
             started first; if it is lost, write a new secret for `admin` alone into it, start again, and give the others \
             new ones with that"
        );
        return Ok(());
    };
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
    let mut entries = Vec::with_capacity(file.0.len());
    for (id, secret) in &file.0 {
        if let Some(client) = store.client(id).await? {
            let digest = master.sign("client secret", &[id, secret]);
            entries.push((client, secret, digest));
        }
    }
    let before = said(store).await?;
    let known = before.clone().unwrap_or_default();
    let digests = entries
        .iter()
        .filter(|(client, ..)| !made.contains(&client.id))
        .map(|(client, _, digest)| (client.id.as_str(), digest.as_str()));
    if known.is_foreign(digests) || (before.is_none() && made.is_empty()) {
        let mut related = false;
        for (client, secret, _) in entries.iter().filter(|(client, ..)| !made.contains(&client.id)) {
            related = related || is_right(hasher, client, secret).await?;
        }
        if !related {
            tracing::error!(
                file = %path.display(),
                "no secret in the file is one of this database's clients, so none of it counts: copy the file from where \
                 this UAA was started first, or give a client the secret that the file has for it"
            );
            return Ok(());
        }
    }
    let mut said = known.clone();
    for (client, secret, digest) in entries {
        match known.entry(&client.id, &digest) {
            Entry::Same => continue,
            Entry::Old => {
                tracing::warn!(
                    client = client.id,
                    file = %path.display(),
                    "the file has an older secret of the client, which does not count any more: copy the newest file, or \
                     change the secret to one that it never was"
                );
                continue;
            }
            Entry::New => {}
        }
        if made.contains(&client.id) || is_right(hasher, &client, secret).await? {
            said.says(&client.id, digest);
            continue;
        }
        // The other node's components have its secret: ours was made up for a client that was not to be.
        if made_elsewhere.contains(&client.id) {
            tracing::warn!(
                client = client.id,
                file = %path.display(),
                "another node made the client, with a secret of its own: copy that node's file"
            );
            continue;
        }
        // Without a record of what the file said before, nobody knows which of the two is newer.
        if before.is_none() {
            tracing::warn!(
                client = client.id,
                file = %path.display(),
                "the client has another secret than the file says: if the file is right, give the client that secret"
            );
            said.says(&client.id, digest);
            continue;
        }
        let hash = hasher.hash_secret(secret).await.map_err(|_| Error::Hashing)?;
        if store.change_client_secrets(&client, &hash, None, true).await? {
            said.says(&client.id, digest);
            tracing::info!(
                client = client.id,
                "the client has the secret of the file now; what it was issued with others is revoked"
            );
        } else {
            tracing::warn!(
                client = client.id,
                "the client's secret was changed at this moment, and is not the file's: start again to give it that"
            );
        }
    }
    if before.as_ref() != Some(&said) {
        let text = serde_json::to_string(&said).expect("a map of texts is JSON");
        store.set_setting(SETTING, &text).await?;
    }
    Ok(())
}

/// The clients that were not there.
#[derive(Debug, Default)]
struct Absent {
    made: Vec<String>,
    /// Another node was faster.
    made_elsewhere: Vec<String>,
}

/// Makes the clients that are not there, with the file's secrets; those that it does not have are made up.
async fn make_absent(
    store: &Store,
    hasher: &Hasher,
    config: &Config,
    file: &mut Option<SecretsFile>,
) -> Result<Absent, Error> {
    let path = &config.client_secrets_file;
    let mut absent = Vec::new();
    for seeded in CLIENTS {
        if store.client(seeded.id).await?.is_none() {
            absent.push(seeded);
        }
    }
    let mut outcome = Absent::default();
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
            outcome.made.push(seeded.id.to_owned());
            continue;
        }
        outcome.made_elsewhere.push(seeded.id.to_owned());
        if let Some(file) = file.as_mut().filter(|_| made_up) {
            file.0.remove(seeded.id);
            private_file::replace(path, &written(file))?;
        }
    }
    Ok(outcome)
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
async fn said(store: &Store) -> Result<Option<Said>, Error> {
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

    /// New is what was never there; a file of which nothing is known is somebody else's.
    #[test]
    fn what_is_new() {
        let mut said = Said::default();
        said.says("a", "1".to_owned());
        said.says("a", "2".to_owned());
        said.says("b", "1".to_owned());
        assert_eq!(
            (said.entry("a", "2"), said.entry("a", "1"), said.entry("a", "3")),
            (Entry::Same, Entry::Old, Entry::New)
        );
        assert_eq!(said.entry("c", "1"), Entry::New);
        assert!(said.is_foreign([("a", "8"), ("b", "9")].into_iter()));
        for own in [
            vec![("a", "8"), ("b", "1")],
            vec![("a", "1"), ("b", "9")],
            vec![("a", "8")],
            vec![("a", "8"), ("c", "9")],
            vec![],
        ] {
            assert!(!said.is_foreign(own.iter().copied()), "{own:?}");
        }
        for number in 0..100 {
            said.says("a", number.to_string());
        }
        assert_eq!(said.0["a"].len(), REMEMBERED);
    }
}
