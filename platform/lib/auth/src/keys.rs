//! The issuer's public keys for access tokens, as its `/token_keys` lists them.

use std::collections::HashMap;
use std::sync::Arc;

use thiserror::Error;
use weir_jose::{Algorithm, Key, KeySet, KeySetError};

/// Public keys for RS256, by their names (`kid`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    by_id: HashMap<String, Arc<Key>>,
}

/// Why a set of keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeysError {
    /// The document is not a set of keys.
    #[error(transparent)]
    Set(#[from] KeySetError),
    /// The set has no RS256 key. Without keys every token would be refused, so the keys that were known before are
    /// kept.
    #[error("there is no RSA signing key among the keys")]
    Empty,
}

impl Keys {
    /// Reads a JWKS. Keys without a name, and keys for other algorithms and uses, are skipped.
    ///
    /// # Errors
    /// When the document is no JWKS, or has no usable key.
    pub fn parse(json: &[u8]) -> Result<Self, KeysError> {
        let usable = KeySet::parse(json)?.into_iter().filter_map(|key| {
            // A key is usable for one algorithm only, so that a token cannot choose another one for it.
            let key = key.only_for(Algorithm::Rs256)?;
            let id = key.id().filter(|id| !id.is_empty())?.to_owned();
            Some((id, Arc::new(key)))
        });
        let by_id: HashMap<_, _> = usable.collect();
        if by_id.is_empty() {
            return Err(KeysError::Empty);
        }
        Ok(Self { by_id })
    }

    /// The key with this name.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Key>> {
        self.by_id.get(id)
    }

    /// The number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are no keys, which means that none were fetched yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwks(keys: &str) -> Result<Keys, KeysError> {
        Keys::parse(format!("{{\"keys\":[{keys}]}}").as_bytes())
    }

    /// Only RSA signing keys with a name are read. Above all, a MAC key is not.
    #[test]
    fn only_rsa_signing_keys_are_read() {
        let good = r#"{"kid":"k","kty":"RSA","alg":"RS256","use":"sig","n":"AQID","e":"AQAB","value":"-----"}"#;
        let keys = jwks(&format!(
            r#"{good},{{"kid":"mac","kty":"MAC","alg":"HS256","value":"secret"}},{{"kid":"enc","kty":"RSA","use":"enc","n":"AQID","e":"AQAB"}},
               {{"kty":"RSA","n":"AQID","e":"AQAB"}},{{"kid":"","kty":"RSA","n":"AQID","e":"AQAB"}},{{"kid":"half","kty":"RSA","n":"AQID"}},
               {{"kid":"ps","kty":"RSA","alg":"PS256","n":"AQID","e":"AQAB"}},{{"kid":"zero","kty":"RSA","n":"AAAA","e":"AQAB"}}"#
        ))
        .unwrap();
        assert_eq!(keys.len(), 1);
        // A sign byte and padding change nothing.
        let other = jwks(r#"{"kid":"k","kty":"RSA","n":"AAECAw==","e":"AQAB"}"#).unwrap();
        assert_eq!(keys, other);
        assert_eq!(format!("{:?}", keys.get("k").unwrap()), "Key(24 bits)");
    }

    /// A document without a usable key is an error, so that it does not replace the keys that are known.
    #[test]
    fn a_set_without_keys_is_an_error() {
        assert_eq!(jwks(""), Err(KeysError::Empty));
        assert_eq!(jwks(r#"{"kid":"k","kty":"EC"}"#), Err(KeysError::Empty));
        for odd in ["", "[]", "{}", r#"{"keys":7}"#, "<html>"] {
            assert!(
                matches!(
                    Keys::parse(odd.as_bytes()),
                    Err(KeysError::Set(KeySetError::Malformed(_)))
                ),
                "{odd}"
            );
        }
        let many = vec![r#"{"kid":"k","kty":"RSA"}"#; 65].join(",");
        assert_eq!(jwks(&many), Err(KeysError::Set(KeySetError::TooMany)));
    }
}
