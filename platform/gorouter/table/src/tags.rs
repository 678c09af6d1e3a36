//! The tags of endpoints. Endpoints with the same tags share them.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use ahash::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

/// The tags of an endpoint, in the order of their names.
#[derive(Debug)]
pub struct Tags {
    /// Names and values, one after the other.
    text: Box<str>,
    /// Where each name and each value ends in `text`.
    ends: Box<[u16]>,
    form: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// All tags that are in use.
#[derive(Debug, Default)]
pub(crate) struct TagPool {
    hasher: RandomState,
    tags: Mutex<HashTable<Weak<Tags>>>,
}

impl Tags {
    /// `None` if they have more than 64 KiB.
    fn new(tags: &BTreeMap<String, String>) -> Option<Self> {
        let length = tags.iter().map(|(name, value)| name.len() + value.len()).sum();
        let mut text = String::with_capacity(length);
        let mut ends = Vec::with_capacity(2 * tags.len());
        for part in tags.iter().flat_map(|(name, value)| [name, value]) {
            text.push_str(part);
            ends.push(u16::try_from(text.len()).ok()?);
        }
        Some(Self {
            text: text.into_boxed_str(),
            ends: ends.into_boxed_slice(),
            form: OnceLock::new(),
        })
    }

    /// The form in which the caller uses the tags, which `make` makes once for all endpoints that share them. All callers
    /// use the same type; `None` if another caller does not.
    pub fn form<T: Any + Send + Sync>(&self, make: impl FnOnce(&Self) -> T) -> Option<&T> {
        self.form.get_or_init(|| Box::new(make(self))).downcast_ref()
    }

    /// Name and value of each tag.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        let mut start = 0;
        self.ends.chunks_exact(2).map(move |ends| {
            let [middle, end] = [usize::from(ends[0]), usize::from(ends[1])];
            let pair = (&self.text[start..middle], &self.text[middle..end]);
            start = end;
            pair
        })
    }

    /// The value of the tag of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(tag, value)| (tag == name).then_some(value))
    }

    /// Whether these are the tags of a registration.
    pub(crate) fn are(&self, tags: &BTreeMap<String, String>) -> bool {
        self.ends.len() == 2 * tags.len()
            && self
                .iter()
                .zip(tags)
                .all(|(own, (name, value))| own.0 == name && own.1 == value)
    }
}

impl TagPool {
    /// The tags of a registration, shared with the other endpoints that have them; `None` if they have more than 64 KiB.
    pub(crate) fn share(&self, tags: &BTreeMap<String, String>) -> Option<Arc<Tags>> {
        let tags = Tags::new(tags)?;
        let hash = self.hash(&tags);
        let mut known = self.tags.lock();
        let found = known.find(hash, |known| {
            known
                .upgrade()
                .is_some_and(|known| known.text == tags.text && known.ends == tags.ends)
        });
        if let Some(found) = found.and_then(Weak::upgrade) {
            return Some(found);
        }
        let tags = Arc::new(tags);
        known.insert_unique(hash, Arc::downgrade(&tags), |known| {
            known.upgrade().map_or(0, |known| self.hash(&known))
        });
        Some(tags)
    }

    /// Forgets tags that no endpoint has any more.
    pub(crate) fn sweep(&self) {
        let mut known = self.tags.lock();
        known.retain(|tags| tags.strong_count() > 0);
        if known.len() < known.capacity() / 4 {
            known.shrink_to_fit(|known| known.upgrade().map_or(0, |known| self.hash(&known)));
        }
    }

    fn hash(&self, tags: &Tags) -> u64 {
        self.hasher.hash_one((&tags.text, &tags.ends))
    }
}
