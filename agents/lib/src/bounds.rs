//! The bounds of buffers and links, as configurations write them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use weir_config::{ByteSize, Problems};
use weir_flow::Capacity;

use crate::outlet::InFlightLimit;
use crate::rewrite::DefaultTags;

/// A pair of upper bounds on one buffer or link, in the form in which a configuration file writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawBounds {
    /// The largest number of envelopes.
    pub envelopes: usize,
    /// The largest number of bytes.
    pub bytes: ByteSize,
}

impl RawBounds {
    /// The default bounds of a buffer that waits for the next hop: 100,000 envelopes or 64 MiB.
    #[must_use]
    pub const fn buffer() -> Self {
        Self {
            envelopes: 100_000,
            bytes: ByteSize::mib(64),
        }
    }

    /// The default bounds of what a peer may hold without acknowledging it: 262,144 envelopes or 128 MiB.
    #[must_use]
    pub const fn in_flight() -> Self {
        Self {
            envelopes: 262_144,
            bytes: ByteSize::mib(128),
        }
    }

    /// Adds a problem to `problems` for each bound at `key` that is too small to work with.
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

/// Checks two settings that every forwarding agent has: the number of counter series that it remembers, and the time
/// that it may take to drain when it stops.
pub fn check_common(counter_series: usize, drain: weir_config::Duration, problems: &mut Problems) {
    problems.require(
        (2..=1_000_000).contains(&counter_series),
        "counter_series",
        counter_series,
        "2 to 1000000",
    );
    problems.require(drain.get() <= Duration::from_secs(60), "drain", drain, "at most 60s");
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
