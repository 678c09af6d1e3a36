//! A list as agents receive it: a JSON document and its `ETag`.

use std::sync::Arc;

use bytes::Bytes;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use tokio::sync::watch;

/// The list that is served. `None` while it is not completely known.
pub(crate) type Published = watch::Receiver<Option<Arc<Document>>>;

/// A list that is serialised once for all clients.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) body: Bytes,
    /// The `ETag` with its quotes. It depends on the content only, so it stays valid after a restart.
    pub(crate) etag: String,
}

impl Document {
    pub(crate) fn of(list: &impl Serialize) -> Result<Self, serde_json::Error> {
        let mut body = serde_json::to_vec(list)?;
        body.push(b'\n');
        let hash = digest(&SHA256, &body);
        let hex: String = hash.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            body: body.into(),
            etag: format!("\"{hex}\""),
        })
    }
}

/// Makes `document` the current one if it differs. Returns whether it does.
pub(crate) fn publish(current: &watch::Sender<Option<Arc<Document>>>, document: Document) -> bool {
    current.send_if_modified(|now| {
        let same = now.as_ref().is_some_and(|now| now.etag == document.etag);
        if !same {
            *now = Some(Arc::new(document));
        }
        !same
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `ETag` depends on the content, and watchers are notified of changes only.
    #[test]
    fn the_etag_follows_the_content() {
        let (sender, mut receiver) = watch::channel(None);
        let document = |list: &[&str]| Document::of(&list).unwrap();
        assert!(publish(&sender, document(&["a"])));
        let first = receiver.borrow_and_update().clone().unwrap();
        assert_eq!(first.body, "[\"a\"]\n");
        assert!(first.etag.len() == 34 && first.etag.starts_with('"'));
        assert!(!publish(&sender, document(&["a"])) && !receiver.has_changed().unwrap());
        assert!(publish(&sender, document(&["b"])) && receiver.has_changed().unwrap());
        assert_ne!(receiver.borrow().as_ref().unwrap().etag, first.etag);
    }
}
