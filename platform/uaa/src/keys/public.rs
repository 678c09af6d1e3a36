//! The public half of a key, and how it is shown: as a JWK with the PEM that the Cloud Controller and log-cache read.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest;
use ring::rsa::PublicKeyComponents;
use ring::signature::{KeyPair as _, RsaKeyPair};
use serde_json::{Value, json};

use crate::secrets;

/// `AlgorithmIdentifier` of rsaEncryption.
const RSA_ENCRYPTION: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// The public half of a key.
#[derive(Debug, Clone)]
pub(super) struct PublicKey {
    pub(super) kid: String,
    pub(super) n: Vec<u8>,
    pub(super) e: Vec<u8>,
    pem: String,
}

impl PublicKey {
    pub(super) fn of(kid: &str, pair: &RsaKeyPair) -> Self {
        let components = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
        Self {
            kid: kid.to_owned(),
            n: components.n,
            e: components.e,
            pem: pem(pair.public_key().as_ref()),
        }
    }

    /// As `GET /token_keys` shows it.
    pub(super) fn document(&self) -> Value {
        json!({
            "kty": "RSA",
            "e": URL_SAFE_NO_PAD.encode(&self.e),
            "use": "sig",
            "kid": self.kid,
            "alg": "RS256",
            "value": self.pem,
            "n": URL_SAFE_NO_PAD.encode(&self.n),
        })
    }
}

/// A key's name: it follows from the key, so that two keys never share one.
pub(super) fn kid(pair: &RsaKeyPair) -> String {
    let digest = digest::digest(&digest::SHA256, pair.public_key().as_ref());
    format!("weir-{}", secrets::hex(&digest.as_ref()[..8]))
}

/// An `RSAPublicKey` as `SubjectPublicKeyInfo` in PEM.
fn pem(public_key: &[u8]) -> String {
    let mut bits = vec![0];
    bits.extend_from_slice(public_key);
    let mut content = RSA_ENCRYPTION.to_vec();
    content.extend(element(0x03, &bits));
    let encoded = STANDARD.encode(element(0x30, &content));
    let mut pem = "-----BEGIN PUBLIC KEY-----\n".to_owned();
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PUBLIC KEY-----");
    pem
}

/// One DER element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut element = vec![tag];
    let length = content.len().to_be_bytes();
    let short = u8::try_from(content.len()).ok().filter(|length| *length < 0x80);
    match short {
        Some(length) => element.push(length),
        None => {
            let start = length.iter().position(|byte| *byte != 0).unwrap_or(0);
            let digits = &length[start..];
            element.push(0x80 | u8::try_from(digits.len()).unwrap_or(8));
            element.extend_from_slice(digits);
        }
    }
    element.extend_from_slice(content);
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths below 128, and of one and two digits.
    #[test]
    fn der_lengths() {
        assert_eq!(element(4, &[7])[..3], [4, 1, 7]);
        assert_eq!(element(4, &[0; 200])[..3], [4, 0x81, 200]);
        assert_eq!(element(4, &[0; 300])[..4], [4, 0x82, 1, 44]);
    }

    /// The PEM is what X.509 parsers read: rustls' own accepts it as a public key of the same bytes.
    #[test]
    fn pem_is_read_by_others() {
        use rustls::pki_types::SubjectPublicKeyInfoDer;
        use rustls::pki_types::pem::PemObject as _;
        let der = super::super::generate().unwrap();
        let pair = RsaKeyPair::from_pkcs8(&der).unwrap();
        let key = PublicKey::of("k", &pair);
        let info = SubjectPublicKeyInfoDer::from_pem_slice(key.pem.as_bytes()).unwrap();
        assert!(info.as_ref().ends_with(pair.public_key().as_ref()));
        assert_eq!(key.e, [1, 0, 1]);
        assert_eq!(key.n.len(), 256);
        assert!(kid(&pair).starts_with("weir-"));
    }
}
