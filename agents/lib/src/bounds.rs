//! The bounds of buffers and links, as configurations write them.

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, Problems, Setting};
use weir_flow::Capacity;

use crate::outlet::InFlightLimit;
use crate::rewrite::DefaultTags;

/// A pair of upper bounds on one buffer or link, in the form in which a configuration file writes it.
#[derive(Debug, Clone, Serialize, Deserialize, Setting)]
#[serde(deny_unknown_fields)]
pub struct RawBounds {
    /// The largest number of envelopes.
    #[setting(default = 100_000, min = 1000)]
    pub envelopes: usize,
    /// The largest number of bytes.
    #[setting(default = "64MiB", min = "1MiB")]
    pub bytes: ByteSize,
}

impl RawBounds {
    /// The default bounds of what a peer may hold without acknowledging it: 262,144 envelopes or 128 MiB.
    #[must_use]
    pub const fn in_flight() -> Self {
        Self {
            envelopes: 262_144,
            bytes: ByteSize::mib(128),
        }
    }

    /// Converts the bounds to the capacity of a queue.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        Capacity {
            envelopes: self.envelopes,
            bytes: self.bytes.as_usize(),
        }
    }

    /// Converts the bounds to the in-flight limit of a link.
    #[must_use]
    pub const fn limit(&self) -> InFlightLimit {
        InFlightLimit {
            envelopes: self.envelopes as u64,
            bytes: self.bytes.bytes(),
        }
    }
}

/// Builds the default tags from `tags`. Returns `None`, and adds a problem at the key `tags`, if they are invalid.
pub fn check_tags(tags: impl IntoIterator<Item = (String, String)>, problems: &mut Problems) -> Option<DefaultTags> {
    let tags: Vec<(String, String)> = tags.into_iter().collect();
    if tags.iter().any(|(key, _)| key.is_empty()) {
        problems.reject("tags", "must not have an empty key");
    }
    let count = tags.len();
    let tags = DefaultTags::new(tags);
    problems.require(tags.is_some(), "tags", format!("{count} tags"), "at most 64 tags");
    tags
}
