//! An outgoing gRPC message.

use bytes::Bytes;

/// An outgoing message, encoded as the concatenation of its parts.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    parts: Vec<Bytes>,
}

impl Frame {
    /// A message of several parts, written one after the other.
    #[must_use]
    pub const fn parts(parts: Vec<Bytes>) -> Self {
        Self { parts }
    }

    /// The size of the message in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    /// Whether the message has no bytes, as a message has whose fields all have their defaults.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(Bytes::is_empty)
    }

    pub(crate) fn into_parts(self) -> Vec<Bytes> {
        self.parts
    }
}

impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Self {
        Self { parts: vec![bytes] }
    }
}

impl From<Vec<u8>> for Frame {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}
