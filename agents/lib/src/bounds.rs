//! The bounds of buffers and links, as configurations write them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, Problems};
use weir_flow::Capacity;

use crate::InFlightLimit;
use crate::rewrite::DefaultTags;

/// Two bounds of the same thing as they are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawBounds {
    /// Most envelopes.
    pub envelopes: usize,
    /// Most bytes.
    pub bytes: ByteSize,
}

impl RawBounds {
    /// What waits for the next hop, unless told otherwise.
    #[must_use]
    pub const fn buffer() -> Self {
        Self {
            envelopes: 100_000,
            bytes: ByteSize::mib(64),
        }
    }

    /// What a peer may have without acknowledging it, unless told otherwise.
    #[must_use]
    pub const fn in_flight() -> Self {
        Self {
            envelopes: 262_144,
            bytes: ByteSize::mib(128),
        }
    }

    /// Notes what is wrong with the bounds at `key`.
    pub fn check(&self, key: &str, problems: &mut Problems) {
        let envelopes = format!("{key}.envelopes");
        problems.require(self.envelopes >= 1000, &envelopes, self.envelopes, "at least 1000");
        problems.require(
            self.bytes.bytes() >= 1 << 20,
            &format!("{key}.bytes"),
            self.bytes,
            "at least 1MiB",
        );
    }

    /// As the capacity of a queue.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        Capacity {
            envelopes: self.envelopes,
            bytes: self.bytes.as_usize(),
        }
    }

    /// As the limit of a link.
    #[must_use]
    pub const fn limit(&self) -> InFlightLimit {
        InFlightLimit {
            envelopes: self.envelopes as u64,
            bytes: self.bytes.bytes(),
        }
    }
}

/// Checks what every forwarding agent has: how many counter series it remembers and how long it may drain.
pub fn check_common(counter_series: usize, drain: weir_config::Duration, problems: &mut Problems) {
    problems.require(
        (2..=1_000_000).contains(&counter_series),
        "counter_series",
        counter_series,
        "2 to 1000000",
    );
    problems.require(drain.get() <= Duration::from_secs(60), "drain", drain, "at most 60s");
}

/// The default tags, if they are valid; notes what is wrong at `tags` if not.
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
