//! The list of a binding cache, parsed into bindings.

use weir_drain::feed::Item;
use weir_drain::{Binding, Invalid};

/// The valid and the invalid bindings of a list.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    pub(crate) usable: Vec<Binding>,
    pub(crate) invalid: Vec<Invalid>,
}

impl Parsed {
    /// Parses the body of `/v2/bindings`.
    pub(crate) fn bindings(body: &[u8]) -> Result<Self, serde_json::Error> {
        Self::read(body, |item| Binding::expand(item).collect())
    }

    /// Parses the body of `/v2/aggregate`.
    pub(crate) fn aggregates(body: &[u8]) -> Result<Self, serde_json::Error> {
        Self::read(body, |item| Binding::aggregate(item).collect())
    }

    fn read(body: &[u8], expand: impl Fn(&Item) -> Vec<Result<Binding, Invalid>>) -> Result<Self, serde_json::Error> {
        // Go encodes an empty slice as `null`.
        let items: Option<Vec<Item>> = serde_json::from_slice(body)?;
        let mut parsed = Self::default();
        for binding in items.unwrap_or_default().iter().flat_map(expand) {
            parsed.push(binding);
        }
        Ok(parsed)
    }

    /// Adds one binding.
    pub(crate) fn push(&mut self, binding: Result<Binding, Invalid>) {
        match binding {
            Ok(binding) => self.usable.push(binding),
            Err(invalid) => self.invalid.push(invalid),
        }
    }
}
