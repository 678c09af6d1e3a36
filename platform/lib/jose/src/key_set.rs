//! A set of keys, as an issuer publishes it (JWKS, RFC 7517).

use serde::Deserialize;
use thiserror::Error;

use crate::key::Jwk;
use crate::{Flaw, Jwt, Key};

/// Most keys of a set. An issuer that rotates its keys has a handful.
const MOST_KEYS: usize = 64;

/// The keys of an issuer, in the order in which it lists them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// A document is not a set of keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeySetError {
    /// The document is not a JWKS.
    #[error("the keys are not readable: {0}")]
    Malformed(String),
    /// The document has more keys than any issuer needs.
    #[error("there are more than {MOST_KEYS} keys")]
    TooMany,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a set. Keys that cannot be used here are left out, as RFC 7517 wants it.
    ///
    /// # Errors
    /// When it is not a JWKS, or has too many keys.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        let document: Document =
            serde_json::from_slice(json).map_err(|error| KeySetError::Malformed(error.to_string()))?;
        if document.keys.len() > MOST_KEYS {
            return Err(KeySetError::TooMany);
        }
        let keys = document.keys.into_iter();
        let keys = keys.filter_map(|key| serde_json::from_value::<Jwk>(key).ok());
        Ok(keys.filter_map(Key::read).collect())
    }

    /// Whether there is a key of this name; without a name, whether there is any key.
    #[must_use]
    pub fn knows(&self, id: Option<&str>) -> bool {
        self.candidates(id).next().is_some()
    }

    /// Checks that one of the keys has signed the token: the one that it names, or any if it names none.
    ///
    /// # Errors
    /// [`Flaw::UnknownKey`] when there is no such key, or why the last such key did not verify it.
    pub fn verify(&self, token: &Jwt<'_>) -> Result<(), Flaw> {
        let mut flaw = Flaw::UnknownKey;
        for key in self.candidates(token.key_id()) {
            match key.verify(token) {
                Ok(()) => return Ok(()),
                Err(reason) => flaw = reason,
            }
        }
        Err(flaw)
    }

    fn candidates<'k>(&'k self, id: Option<&'k str>) -> impl Iterator<Item = &'k Key> {
        self.keys.iter().filter(move |key| id.is_none() || key.id() == id)
    }
}

impl FromIterator<Key> for KeySet {
    fn from_iter<I: IntoIterator<Item = Key>>(keys: I) -> Self {
        Self {
            keys: keys.into_iter().collect(),
        }
    }
}

impl IntoIterator for KeySet {
    type Item = Key;
    type IntoIter = std::vec::IntoIter<Key>;

    fn into_iter(self) -> Self::IntoIter {
        self.keys.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;
    use crate::signing::assemble;

    fn token(header: &serde_json::Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode("{}")
        );
        let signature = sign(input.as_bytes());
        assemble(input, &signature)
    }

    /// A key verifies what it signed, by its own algorithm; a token that asks for another is refused, `none` and a MAC with
    /// the public key as its secret too.
    #[test]
    fn elliptic_keys_and_confusion() {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let public = pair.public_key().as_ref();
        let (x, y) = (
            URL_SAFE_NO_PAD.encode(&public[1..33]),
            URL_SAFE_NO_PAD.encode(&public[33..]),
        );
        let document = json!({"keys": [
            {"kty": "oct", "kid": "secret", "k": "AAAA"},
            {"kty": "EC", "crv": "P-256", "kid": "enc", "use": "enc", "x": x, "y": y},
            {"kty": "EC", "crv": "P-256", "kid": "one", "x": x, "y": y},
        ]});
        let set = KeySet::parse(document.to_string().as_bytes()).unwrap();
        assert_eq!(set.keys.len(), 1);
        let sign = |input: &[u8]| pair.sign(&random, input).unwrap().as_ref().to_vec();
        let check = |header: serde_json::Value, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
            let token = token(&header, sign);
            set.verify(&Jwt::parse(&token, 4096).unwrap())
        };
        assert_eq!(check(json!({"alg": "ES256", "kid": "one"}), &sign), Ok(()));
        assert_eq!(check(json!({"alg": "ES256"}), &sign), Ok(()));
        assert_eq!(
            check(json!({"alg": "ES256", "kid": "two"}), &sign),
            Err(Flaw::UnknownKey)
        );
        assert_eq!(
            check(json!({"alg": "ES256", "kid": "enc"}), &sign),
            Err(Flaw::UnknownKey)
        );
        assert_eq!(
            check(json!({"alg": "ES384", "kid": "one"}), &sign),
            Err(Flaw::Algorithm)
        );
        assert_eq!(
            check(json!({"alg": "none", "kid": "one"}), &|_| Vec::new()),
            Err(Flaw::Algorithm)
        );
        let mac = |input: &[u8]| {
            let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public);
            ring::hmac::sign(&key, input).as_ref().to_vec()
        };
        assert_eq!(check(json!({"alg": "HS256", "kid": "one"}), &mac), Err(Flaw::Algorithm));
        let broken = |input: &[u8]| {
            let mut signature = sign(input);
            signature[7] ^= 1;
            signature
        };
        assert_eq!(
            check(json!({"alg": "ES256", "kid": "one"}), &broken),
            Err(Flaw::Signature)
        );
    }

    /// What is no key set is an error, and odd keys in one are left out.
    #[test]
    fn odd_documents() {
        for odd in ["[]", "{}", "", "<html>", r#"{"keys":7}"#] {
            assert!(
                matches!(KeySet::parse(odd.as_bytes()), Err(KeySetError::Malformed(_))),
                "{odd}"
            );
        }
        let odd = br#"{"keys":[7,{"kty":"RSA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},
            {"kty":"RSA","n":"AAAA","e":"AQAB"},{"kty":"RSA","alg":"RSA-OAEP","n":"AQID","e":"AQAB"}]}"#;
        assert!(!KeySet::parse(odd).unwrap().knows(None));
        let many = format!(r#"{{"keys":[{}]}}"#, vec!["{}"; 65].join(","));
        assert_eq!(KeySet::parse(many.as_bytes()), Err(KeySetError::TooMany));
    }
}
