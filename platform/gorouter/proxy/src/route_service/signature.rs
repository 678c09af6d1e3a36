//! The signature of a request that goes through a route service: the URL and the time, encrypted with AES-128-GCM under a key
//! that PBKDF2 makes of the routers' common secret.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use chrono::{DateTime, SecondsFormat};
use rand::RngCore as _;
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::pbkdf2;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Rounds of PBKDF2, as all routers of a deployment need them.
const ROUNDS: NonZeroU32 = NonZeroU32::new(100_001).expect("not zero");

/// Bytes of the key.
const KEY: usize = 16;

/// A key for signatures.
pub(crate) struct Key(LessSafeKey);

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

/// Why a signature is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Invalid {
    /// It was made too long ago.
    Expired,
    /// It is none, or not of this key.
    Unreadable(String),
}

/// What a signature says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed {
    /// The URL to which the service sends the request on.
    pub(crate) url: String,
    /// When the request was sent to the service, in nanoseconds since 1970.
    pub(crate) requested_nanos: i64,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    forwarded_url: String,
    requested_time: String,
}

impl Key {
    /// The key of a secret. Takes some hundredths of a second.
    pub(crate) fn new(secret: &str) -> Self {
        let mut key = [0; KEY];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, b"", secret.as_bytes(), &mut key);
        Self(LessSafeKey::new(
            UnboundKey::new(&AES_128_GCM, &key).expect("the key has the length of the algorithm's"),
        ))
    }

    /// Signature and metadata for `url` now, as headers have them; `None` if there is no time to write.
    pub(crate) fn sign(&self, url: &str, now_nanos: i64) -> Option<(String, String)> {
        let contents = Contents {
            forwarded_url: url.to_owned(),
            requested_time: DateTime::from_timestamp_nanos(now_nanos).to_rfc3339_opts(SecondsFormat::Nanos, true),
        };
        let mut bytes = serde_json::to_vec(&contents).ok()?;
        let mut nonce = [0; NONCE_LEN];
        rand::rng().fill_bytes(&mut nonce);
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(unique, Aad::empty(), &mut bytes).ok()?;
        let nonce = base64::engine::general_purpose::STANDARD.encode(nonce);
        let metadata = serde_json::json!({ "nonce": nonce }).to_string();
        Some((URL_SAFE.encode(bytes), URL_SAFE.encode(metadata)))
    }

    /// What a signature says.
    ///
    /// # Errors
    /// When it was not made with this key.
    pub(crate) fn read(&self, signature: &str, metadata: &str) -> Result<Signed, Invalid> {
        let unreadable = |reason: &str| Invalid::Unreadable(reason.to_owned());
        if metadata.is_empty() {
            return Err(unreadable("No metadata found"));
        }
        let metadata = URL_SAFE
            .decode(metadata)
            .map_err(|_| unreadable("metadata is not base64"))?;
        let metadata: Value = serde_json::from_slice(&metadata).map_err(|_| unreadable("metadata is not JSON"))?;
        let nonce = metadata.get("nonce").and_then(Value::as_str).unwrap_or_default();
        let nonce = base64::engine::general_purpose::STANDARD
            .decode(nonce)
            .unwrap_or_default();
        let nonce = nonce.try_into().map_err(|_| unreadable("incorrect nonce length"))?;
        let mut bytes = URL_SAFE
            .decode(signature)
            .map_err(|_| unreadable("signature is not base64"))?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let contents = self
            .0
            .open_in_place(nonce, Aad::empty(), &mut bytes)
            .map_err(|_| unreadable("cipher: message authentication failed"))?;
        let contents: Contents = serde_json::from_slice(contents).map_err(|_| unreadable("contents are not JSON"))?;
        let time = DateTime::parse_from_rfc3339(&contents.requested_time).map_err(|_| unreadable("time is none"))?;
        Ok(Signed {
            url: contents.forwarded_url,
            requested_nanos: time.timestamp_nanos_opt().unwrap_or(i64::MIN),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one key has signed another key does not read, nor anything that was changed.
    #[test]
    fn only_the_key_reads() {
        let (key, other) = (Key::new("secret"), Key::new("another"));
        let now = 1_767_225_600_123_456_789;
        let (signature, metadata) = key.sign("https://a.example/x?y=1&z", now).expect("signed");
        let signed = Signed {
            url: "https://a.example/x?y=1&z".to_owned(),
            requested_nanos: now,
        };
        assert_eq!(key.read(&signature, &metadata), Ok(signed));
        assert!(other.read(&signature, &metadata).is_err());
        assert_eq!(
            key.read(&signature, ""),
            Err(Invalid::Unreadable("No metadata found".to_owned()))
        );
        let (another, _) = key.sign("https://a.example/x?y=1&z", now).expect("signed");
        assert!(key.read(&another, &metadata).is_err(), "the nonce is another one");
        for wrong in ["", "x", "AAAA"] {
            assert!(key.read(wrong, &metadata).is_err() && key.read(&signature, wrong).is_err());
        }
    }

    /// The key of a secret is the one that the original's PBKDF2 makes: no salt, 100001 rounds of SHA-256.
    #[test]
    fn keys_are_the_originals() {
        let mut key = [0; KEY];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, b"", b"password", &mut key);
        let expected: [u8; KEY] = [200, 79, 182, 38, 24, 115, 51, 231, 16, 125, 60, 144, 89, 68, 27, 49];
        assert_eq!(key, expected);
    }
}
