//! Keys of somebody else, as a JWK set, and what they have signed.
//!
//! Which algorithms a key is good for follows from the key's type; what a token's header claims must be one of them.
//! Symmetric keys and `none` are not among them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use crate::jwt::{Flaw, Parsed};

/// Most keys that are read of a set.
const MOST: usize = 64;

/// The keys of a provider.
#[derive(Debug, Clone, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, Clone)]
struct Key {
    kid: Option<String>,
    alg: Option<String>,
    material: Material,
}

#[derive(Debug, Clone)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Debug, Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a set. Keys that we cannot use are left out, as RFC 7517 wants it.
    pub(super) fn parse(document: &[u8]) -> Option<Self> {
        let document: Document = serde_json::from_slice(document).ok()?;
        let keys = document.keys.into_iter().take(MOST);
        let keys = keys
            .filter_map(|key| serde_json::from_value::<Jwk>(key).ok())
            .filter_map(Key::read);
        Some(Self { keys: keys.collect() })
    }

    /// Whether there is a key of this name; of any name if it has none.
    pub(super) fn knows(&self, kid: Option<&str>) -> bool {
        self.candidates(kid).next().is_some()
    }

    fn candidates<'k>(&'k self, kid: Option<&'k str>) -> impl Iterator<Item = &'k Key> {
        self.keys.iter().filter(move |key| match (kid, &key.kid) {
            (Some(wanted), Some(known)) => wanted == known,
            (Some(_), None) => false,
            (None, _) => true,
        })
    }

    /// Whether one of the keys has signed this.
    pub(super) fn verify(&self, token: &Parsed<'_>) -> Result<(), Flaw> {
        let mut flaw = Flaw::Key;
        for key in self.candidates(token.kid.as_deref()) {
            match key.verify(token) {
                Ok(()) => return Ok(()),
                Err(reason) => flaw = reason,
            }
        }
        Err(flaw)
    }
}

impl Key {
    fn read(jwk: Jwk) -> Option<Self> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let decode = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?.trim_end_matches('=')).ok();
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rsa {
                n: without_zeros(decode(jwk.n)?),
                e: without_zeros(decode(jwk.e)?),
            },
            ("EC", Some("P-256")) => Material::P256(point(&decode(jwk.x)?, &decode(jwk.y)?, 32)?),
            ("EC", Some("P-384")) => Material::P384(point(&decode(jwk.x)?, &decode(jwk.y)?, 48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(decode(jwk.x)?),
            _ => return None,
        };
        Some(Self {
            kid: jwk.kid,
            alg: jwk.alg,
            material,
        })
    }

    fn verify(&self, token: &Parsed<'_>) -> Result<(), Flaw> {
        let algorithm = token.algorithm.as_str();
        if self.alg.as_deref().is_some_and(|own| own != algorithm) {
            return Err(Flaw::Algorithm);
        }
        let (signed, signature) = (token.signed.as_bytes(), &token.signature);
        let verified = match (&self.material, algorithm) {
            (Material::Rsa { n, e }, _) => {
                let parameters = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return Err(Flaw::Algorithm),
                };
                RsaPublicKeyComponents { n, e }.verify(parameters, signed, signature)
            }
            (Material::P256(point), "ES256") => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            (Material::P384(point), "ES384") => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(signed, signature)
            }
            (Material::Ed25519(key), "EdDSA") => {
                UnparsedPublicKey::new(&signature::ED25519, key).verify(signed, signature)
            }
            _ => return Err(Flaw::Algorithm),
        };
        verified.map_err(|_| Flaw::Signature)
    }
}

fn without_zeros(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}

/// An uncompressed point.
fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    (x.len() == length && y.len() == length).then(|| [&[4], x, y].concat())
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use serde_json::json;

    use super::*;
    use crate::jwt;

    fn token(header: &serde_json::Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let input = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode("{}")
        );
        let signature = sign(input.as_bytes());
        jwt::assemble(input, &signature)
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
            set.verify(&Parsed::parse(&token).unwrap())
        };
        assert_eq!(check(json!({"alg": "ES256", "kid": "one"}), &sign), Ok(()));
        assert_eq!(check(json!({"alg": "ES256"}), &sign), Ok(()));
        assert_eq!(check(json!({"alg": "ES256", "kid": "two"}), &sign), Err(Flaw::Key));
        assert_eq!(check(json!({"alg": "ES256", "kid": "enc"}), &sign), Err(Flaw::Key));
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

    /// What is no key set is none, and odd keys in one are left out.
    #[test]
    fn odd_documents() {
        assert!(KeySet::parse(b"[]").is_none());
        assert!(KeySet::parse(b"{}").is_none());
        let set = KeySet::parse(br#"{"keys":[7,{"kty":"RSA"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#).unwrap();
        assert!(!set.knows(None));
    }
}
