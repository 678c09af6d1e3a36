//! The issuer's public keys, as `/token_keys` gives them (JWKS, RFC 7517).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use thiserror::Error;

/// An issuer that rotates its keys has a handful.
const MOST_KEYS: usize = 64;

/// An RSA key for RS256 signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Big-endian, without leading zeros.
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl Key {
    /// Whether `signature` is this key's, RSASSA-PKCS1-v1_5 with SHA-256, over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let key = RsaPublicKeyComponents {
            n: &self.modulus,
            e: &self.exponent,
        };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({} bits)", self.modulus.len() * 8)
    }
}

/// Keys by their names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keys {
    by_id: HashMap<String, Arc<Key>>,
}

/// The keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeysError {
    /// It is no JWKS.
    #[error("the keys are not readable: {0}")]
    Malformed(String),
    /// It has no RS256 key. An issuer that really has none would leave everybody out: what was known before is kept.
    #[error("there is no RSA signing key among the keys")]
    Empty,
    /// More than any issuer needs.
    #[error("there are more than {MOST_KEYS} keys")]
    TooMany,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    kid: Option<String>,
    kty: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl Keys {
    /// Reads a JWKS. Keys for other algorithms and uses are passed over.
    ///
    /// # Errors
    /// When it is none, or has no key that could be used.
    pub fn parse(json: &[u8]) -> Result<Self, KeysError> {
        let set: Set = serde_json::from_slice(json).map_err(|error| KeysError::Malformed(error.to_string()))?;
        if set.keys.len() > MOST_KEYS {
            return Err(KeysError::TooMany);
        }
        let by_id: HashMap<_, _> = set.keys.into_iter().filter_map(key).collect();
        if by_id.is_empty() {
            return Err(KeysError::Empty);
        }
        Ok(Self { by_id })
    }

    /// The key of this name.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Arc<Key>> {
        self.by_id.get(id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there are none: none were fetched yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

fn key(entry: Entry) -> Option<(String, Arc<Key>)> {
    let fits = |value: &Option<String>, wanted: &str| value.as_deref().is_none_or(|value| value == wanted);
    if entry.kty.as_deref() != Some("RSA") || !fits(&entry.alg, "RS256") || !fits(&entry.usage, "sig") {
        return None;
    }
    let number = |text: Option<String>| {
        // Some write a sign byte, some write padding.
        let text = text?;
        let mut bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        bytes.drain(..zeros);
        (!bytes.is_empty()).then_some(bytes)
    };
    let id = entry.kid.filter(|id| !id.is_empty())?;
    let key = Key {
        modulus: number(entry.n)?,
        exponent: number(entry.e)?,
    };
    Some((id, Arc::new(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwks(keys: &str) -> Result<Keys, KeysError> {
        Keys::parse(format!("{{\"keys\":[{keys}]}}").as_bytes())
    }

    /// Only RSA signing keys with a name count; a MAC key least of all.
    #[test]
    fn only_rsa_signing_keys_count() {
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

    /// What holds no key is an error, so that nobody forgets the keys it has for it.
    #[test]
    fn nothing_is_an_error() {
        assert_eq!(jwks(""), Err(KeysError::Empty));
        assert_eq!(jwks(r#"{"kid":"k","kty":"EC"}"#), Err(KeysError::Empty));
        for odd in ["", "[]", "{}", r#"{"keys":7}"#, "<html>"] {
            assert!(
                matches!(Keys::parse(odd.as_bytes()), Err(KeysError::Malformed(_))),
                "{odd}"
            );
        }
        let many = vec![r#"{"kid":"k","kty":"RSA"}"#; 65].join(",");
        assert_eq!(jwks(&many), Err(KeysError::TooMany));
    }
}
