//! The last good lists in a file: `bindings.json` in the state directory.
//!
//! The lists contain credentials of drains, so only the owner can read the file.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use weir_files::Readers;

use super::ListKind;

/// A list as the cache sent it.
#[derive(Clone, Default)]
struct List {
    body: Option<Bytes>,
    etag: Option<String>,
}

/// The JSON form of the file.
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
    /// Creates an empty set of lists that is kept in `dir`.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self {
            path: dir.join("bindings.json"),
            bindings: List::default(),
            aggregates: List::default(),
        }
    }

    /// Reads the file. If it is absent, damaged (then it is set aside) or unreadable, the lists stay empty, and the
    /// cache will send them.
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

    /// Writes the file atomically.
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
            weir_files::make_directory(dir)?;
        }
        weir_files::replace(&self.path, &text, Readers::Owner)
    }

    /// Records a new list.
    pub(super) fn set(&mut self, kind: ListKind, body: Bytes, etag: Option<String>) {
        let list = match kind {
            ListKind::Bindings => &mut self.bindings,
            ListKind::Aggregates => &mut self.aggregates,
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
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Saved lists are read back, and the file is private. A damaged file counts as absent.
    #[test]
    fn lists_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("state");
        let mut saved = Saved::new(dir.clone());
        saved.read();
        assert!(saved.bindings().is_none());
        saved.set(
            ListKind::Bindings,
            Bytes::from_static(b"[{\"url\":\"u\"}]"),
            Some("\"7\"".to_owned()),
        );
        saved.write().unwrap();
        saved.set(ListKind::Aggregates, Bytes::from_static(b"null"), None);
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
