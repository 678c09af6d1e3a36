//! The two forms of tags that a client can ask for (logging §9).

use bytes::Bytes;
use weir_envelope::batch::{Batch, Split};
use weir_envelope::tags::{deprecate_tags, prefer_tags};
use weir_envelope::wire::put_bytes;

/// The map in which a client wants its tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagForm {
    /// All tags are in `tags`, as text.
    Preferred,
    /// All tags are in `deprecated_tags`.
    Deprecated,
}

impl TagForm {
    pub(crate) const fn requested(use_preferred_tags: bool) -> Self {
        if use_preferred_tags {
            Self::Preferred
        } else {
            Self::Deprecated
        }
    }

    /// Returns whether a message needs no change. `deprecated_tags` says whether any of its envelopes has deprecated
    /// tags.
    pub(crate) const fn suits(self, deprecated_tags: bool) -> bool {
        matches!(self, Self::Preferred) && !deprecated_tags
    }

    /// Rewrites a batch message. Returns it with what it contained before.
    pub(crate) fn rewrite(self, message: Bytes) -> (Bytes, Split) {
        let split = Batch::split(message);
        let batch = &split.batch;
        let mut out = Vec::with_capacity(batch.byte_len() + batch.byte_len() / 4);
        let mut envelope = Vec::new();
        for raw in batch.iter() {
            if self == Self::Preferred && !raw.has_deprecated_tags() {
                out.extend_from_slice(raw.field());
                continue;
            }
            envelope.clear();
            match self {
                Self::Preferred => prefer_tags(raw.bytes(), &mut envelope),
                Self::Deprecated => deprecate_tags(raw.bytes(), &mut envelope),
            }
            put_bytes(&mut out, 1, &envelope);
        }
        (out.into(), split)
    }
}
