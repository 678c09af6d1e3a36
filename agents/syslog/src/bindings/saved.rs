//! The last good lists, on file: `bindings.json` in the state directory.
//!
//! They hold the drains' credentials, so the file is for the agent alone.

use std::fs;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use weir_files::Readers;

use super::Which;

/// A list as the cache sent it.
#[derive(Clone, Default)]
struct List {
    body: Option<Bytes>,
    etag: Option<String>,
}

/// The file's form.
#[derive(Default, Serialize, Deserialize)]
struct File {
    #[serde(default)]
    bindings_etag: Option<String>,
    #[serde(default)]
    bindings: Option<Box<RawValue>>,
    #[serde(default)]
    aggregates_etag: Option<String>,
    #[serde(default)]
    aggregates: Option<Box<RawValue>>,
}

/// The last good lists.
#[derive(Clone)]
pub(super) struct Saved {
    path: PathBuf,
    bindings: List,
    aggregates: List,
}

impl Saved {
    /// Nothing yet; to be kept in `dir`.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            path: dir.join("bindings.json"),
            bindings: List::default(),
            aggregates: List::default(),
        }
    }

    /// Reads the file. One that is absent, broken (it is set aside) or cannot be read is as good as none: the cache will say.
    pub(super) fn read(&mut self) {
        let file: File = match weir_files::read_or_set_aside(&self.path, |text| serde_json::from_slice(text)) {
            Ok(Some(file)) => file,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the saved list of bindings cannot be read");
                return;
            }
        };
        let body = |value: Option<Box<RawValue>>| value.map(|value| Bytes::from(value.get().to_owned()));
        self.bindings = List {
            body: body(file.bindings),
            etag: file.bindings_etag,
        };
        self.aggregates = List {
            body: body(file.aggregates),
            etag: file.aggregates_etag,
        };
    }

    /// Writes the file anew, whole or not at all.
    pub(super) fn write(&self) -> io::Result<()> {
        let value = |list: &List| match &list.body {
            Some(body) => serde_json::from_slice::<Box<RawValue>>(body).map(Some),
            None => Ok(None),
        };
        let file = File {
            bindings_etag: self.bindings.etag.clone(),
            bindings: value(&self.bindings)?,
            aggregates_etag: self.aggregates.etag.clone(),
            aggregates: value(&self.aggregates)?,
        };
        let text = serde_json::to_vec(&file)?;
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        weir_files::replace(&self.path, &text, Readers::Owner)
    }

    /// Notes a new list.
    pub(super) fn set(&mut self, which: Which, body: Bytes, etag: Option<String>) {
        let list = match which {
            Which::Bindings => &mut self.bindings,
            Which::Aggregates => &mut self.aggregates,
        };
        *list = List { body: Some(body), etag };
    }

    pub(super) fn bindings(&self) -> Option<&[u8]> {
        self.bindings.body.as_deref()
    }

    pub(super) fn aggregates(&self) -> Option<&[u8]> {
        self.aggregates.body.as_deref()
    }

    pub(super) fn bindings_etag(&self) -> Option<String> {
        self.bindings.etag.clone()
    }

    pub(super) fn aggregates_etag(&self) -> Option<String> {
        self.aggregates.etag.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// What is saved is read again, for nobody else; a file that is none is as good as none.
    #[test]
    fn lists_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("state");
        let mut saved = Saved::new(dir.clone());
        saved.read();
        assert!(saved.bindings().is_none());
        saved.set(
            Which::Bindings,
            Bytes::from_static(b"[{\"url\":\"u\"}]"),
            Some("\"7\"".to_owned()),
        );
        saved.write().unwrap();
        saved.set(Which::Aggregates, Bytes::from_static(b"null"), None);
        saved.write().unwrap();
        let mode = fs::metadata(dir.join("bindings.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut again = Saved::new(dir.clone());
        again.read();
        assert_eq!(again.bindings().unwrap(), b"[{\"url\":\"u\"}]");
        assert_eq!(again.bindings_etag().unwrap(), "\"7\"");
        assert_eq!(again.aggregates_etag(), None);
        fs::write(dir.join("bindings.json"), "{").unwrap();
        let mut broken = Saved::new(dir);
        broken.read();
        assert!(broken.bindings().is_none());
    }
}
