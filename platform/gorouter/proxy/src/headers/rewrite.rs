//! What operators remove from answers and add to them.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Changes of every answer's headers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rewrite {
    /// Headers that no client gets.
    pub(crate) remove: Vec<HeaderName>,
    /// Headers that an answer gets that does not have them.
    pub(crate) add_if_absent: Vec<(HeaderName, HeaderValue)>,
}

impl Rewrite {
    /// Applies the changes.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) {
        headers.remove(&super::names::X_CF_PROXY_SIGNATURE);
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.add_if_absent {
            if !headers.contains_key(name) {
                headers.insert(name.clone(), value.clone());
            }
        }
    }
}
