//! Random values, digests, and the master key. It encrypts and signs data that only the UAA itself reads.
//!
//! The master key is 32 random bytes in a private file, which all nodes of one UAA share. Each purpose has its own derived key, so
//! that a value which was signed for one purpose is not accepted for another.

use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{aead, digest, hkdf, hmac};
use subtle::ConstantTimeEq as _;

use crate::private_file::{self, FileError};

/// Fills `bytes` with random numbers of the operating system.
pub fn fill(bytes: &mut [u8]) {
    SystemRandom::new()
        .fill(bytes)
        .expect("every supported system has a random generator");
}

/// Returns `N` random bytes in base64url.
pub fn random_token<const N: usize>() -> String {
    let mut bytes = [0; N];
    fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Characters that look different and have no meaning in a shell. There are 32, so that the remainder of a random byte is
/// uniform.
const READABLE: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Returns `N` random characters that people can copy, of 5 bits each.
pub fn random_readable<const N: usize>() -> String {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
        .iter()
        .map(|byte| char::from(READABLE[usize::from(byte % 32)]))
        .collect()
}

/// Returns `N` random bytes in lower-case hexadecimal digits.
pub fn random_hex<const N: usize>() -> String {
    let mut bytes = [0; N];
    fill(&mut bytes);
    hex(&bytes)
}

/// Returns bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Returns the SHA-256 digest in base64url, under which generated secrets are stored. They need neither salt nor a slow hash,
/// because they are too long to guess.
pub fn digest(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// Returns the SHA-256 digest of several texts. Their lengths are part of it, so that `ab`, `c` and `a`, `bc` differ.
pub fn digest_of(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    hex(context.finish().as_ref())
}

/// Whether two texts are equal, in a time that does not depend on where they differ.
pub fn equal(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// The key that encrypts and signs data of the UAA.
pub struct MasterKey {
    derived: hkdf::Prk,
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey([redacted])")
    }
}

/// The length of a derived key.
struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

impl MasterKey {
    /// Reads the key from a file. An absent file is created.
    pub fn from_file(path: &Path) -> Result<Self, FileError> {
        let text = private_file::read_or_create(path, || format!("{}\n", random_token::<32>()))?;
        let bytes = URL_SAFE_NO_PAD
            .decode(text.trim())
            .ok()
            .filter(|bytes| bytes.len() == 32);
        let bytes = bytes.ok_or_else(|| FileError::Content {
            path: path.to_owned(),
            wanted: "master key (32 bytes in base64url)",
        })?;
        Ok(Self::new(&bytes))
    }

    fn new(bytes: &[u8]) -> Self {
        Self {
            derived: hkdf::Salt::new(hkdf::HKDF_SHA256, b"weir uaa").extract(bytes),
        }
    }

    fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut key = [0; 32];
        self.derived
            .expand(&[purpose.as_bytes()], Length)
            .and_then(|output| output.fill(&mut key))
            .expect("32 bytes are fewer than HKDF may give");
        key
    }

    /// Returns a signature over `parts` for a purpose, in base64url.
    pub fn sign(&self, purpose: &str, parts: &[&str]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.derive(purpose));
        URL_SAFE_NO_PAD.encode(hmac::sign(&key, digest_of(parts).as_bytes()))
    }

    /// Encrypts `plain` for a purpose. [`MasterKey::open`] detects changes, and a wrong purpose.
    pub fn seal(&self, purpose: &str, plain: &[u8]) -> Vec<u8> {
        let mut nonce = [0; aead::NONCE_LEN];
        fill(&mut nonce);
        let mut sealed = plain.to_vec();
        self.aead(purpose)
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::from(purpose.as_bytes()),
                &mut sealed,
            )
            .expect("what is sealed is far below the cipher's limit");
        [&nonce[..], &sealed].concat()
    }

    /// Decrypts what was sealed for a purpose; `None` if it was not sealed with this key and purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(aead::NONCE_LEN)?;
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut plain = sealed.to_vec();
        let aad = aead::Aad::from(purpose.as_bytes());
        let length = self.aead(purpose).open_in_place(nonce, aad, &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }

    fn aead(&self, purpose: &str) -> aead::LessSafeKey {
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, &self.derive(purpose)).expect("32 bytes are a key");
        aead::LessSafeKey::new(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sealed data opens only unchanged, with its key and for its purpose.
    #[test]
    fn seals_and_signs() {
        let key = MasterKey::new(&[7; 32]);
        let sealed = key.seal("keys/one", b"private");
        assert_eq!(key.open("keys/one", &sealed).as_deref(), Some(&b"private"[..]));
        assert_eq!(key.open("keys/two", &sealed), None);
        assert_eq!(MasterKey::new(&[8; 32]).open("keys/one", &sealed), None);
        for index in [0, 12, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert_eq!(key.open("keys/one", &changed), None);
        }
        assert_eq!(key.open("keys/one", &sealed[..5]), None);
        assert_eq!(key.sign("csrf", &["a", "b"]), key.sign("csrf", &["a", "b"]));
        assert_ne!(key.sign("csrf", &["a", "b"]), key.sign("csrf", &["ab", ""]));
        assert_ne!(key.sign("csrf", &["a"]), key.sign("other", &["a"]));
    }

    /// A created file is read again, and a file without a key is refused.
    #[test]
    fn files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let one = MasterKey::from_file(&path).unwrap().sign("x", &[]);
        assert_eq!(MasterKey::from_file(&path).unwrap().sign("x", &[]), one);
        private_file::replace(&path, "short").unwrap();
        assert!(MasterKey::from_file(&path).is_err());
    }

    /// Digits, comparison and random texts have their form.
    #[test]
    fn small_things() {
        assert_eq!(hex(&[0, 255, 16]), "00ff10");
        assert!(equal("a", "a") && !equal("a", "b") && !equal("a", "aa") && equal("", ""));
        assert_ne!(random_token::<32>(), random_token::<32>());
        assert_eq!(random_hex::<16>().len(), 32);
        let readable = random_readable::<64>();
        assert!(
            readable.len() == 64 && readable.bytes().all(|byte| READABLE.contains(&byte)),
            "{readable}"
        );
    }
}
