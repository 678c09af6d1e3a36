//! A key that signs, and how its public half is shown: as a JWK with the PEM that the Cloud Controller and log-cache read.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::digest;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::Key;

/// `AlgorithmIdentifier` of rsaEncryption.
const RSA_ENCRYPTION: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

/// An RSA key pair that signs tokens by RS256.
pub struct SigningKey {
    id: String,
    pair: RsaKeyPair,
}

/// The public half of a [`SigningKey`].
#[derive(Debug, Clone)]
pub struct PublicKey {
    id: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
    der: Vec<u8>,
}

/// The header of the tokens that we sign.
#[derive(Serialize)]
struct Header<'h> {
    alg: &'h str,
    jku: &'h str,
    kid: &'h str,
    typ: &'h str,
}

impl SigningKey {
    /// Reads a key pair (PKCS #8) that is to be known as `id`, or by a name that follows from the key itself. `None` if `ring`
    /// does not accept it.
    #[must_use]
    pub fn from_pkcs8(id: Option<&str>, der: &[u8]) -> Option<Self> {
        let pair = RsaKeyPair::from_pkcs8(der).ok()?;
        let id = id.map_or_else(|| name_of(&pair), str::to_owned);
        Some(Self { id, pair })
    }

    /// Returns the key's name (`kid`).
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns a token with these claims. Its header names this key, and `jku` as the place where the keys are published.
    #[must_use]
    pub fn sign(&self, jku: &str, claims: &Map<String, Value>) -> String {
        self.signed(signing_input(&self.id, jku, claims))
    }

    /// Returns any two texts as the header and the claims of a token. This is for tests that forge tokens.
    #[must_use]
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        self.signed(format!("{}.{}", encode(header), encode(claims)))
    }

    /// Returns the public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let components = PublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        PublicKey {
            id: self.id.clone(),
            modulus: components.n,
            exponent: components.e,
            der: self.pair.public_key().as_ref().to_vec(),
        }
    }

    fn signed(&self, input: String) -> String {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                input.as_bytes(),
                &mut signature,
            )
            .expect("`ring` takes keys of 2048 bits and more only, and the buffer is as long as the modulus");
        assemble(input, &signature)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SigningKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl PublicKey {
    /// Returns the key's name (`kid`).
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the key that verifies what the private half signs.
    #[must_use]
    pub fn key(&self) -> Key {
        Key::rs256(self.id.clone(), self.modulus.clone(), self.exponent.clone())
    }

    /// Returns the JWK, with the key as PEM in its member `value`.
    #[must_use]
    pub fn document(&self) -> Value {
        json!({
            "kty": "RSA",
            "e": URL_SAFE_NO_PAD.encode(&self.exponent),
            "use": "sig",
            "kid": self.id,
            "alg": "RS256",
            "value": pem(&self.der),
            "n": URL_SAFE_NO_PAD.encode(&self.modulus),
        })
    }

    /// Returns the key as DER (`RSAPublicKey`).
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// The part of a token that is signed.
pub(crate) fn signing_input(kid: &str, jku: &str, claims: &Map<String, Value>) -> String {
    let header = Header {
        alg: "RS256",
        jku,
        kid,
        typ: "JWT",
    };
    let header = serde_json::to_vec(&header).expect("four strings are JSON");
    let claims = serde_json::to_vec(claims).expect("a map of values is JSON");
    let mut text = URL_SAFE_NO_PAD.encode(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut text);
    text
}

/// The whole token.
pub(crate) fn assemble(mut input: String, signature: &[u8]) -> String {
    input.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut input);
    input
}

/// A name that follows from the key, so that two keys never share one.
fn name_of(pair: &RsaKeyPair) -> String {
    let digest = digest::digest(&digest::SHA256, pair.public_key().as_ref());
    let start = digest.as_ref().iter().take(8);
    start.fold("weir-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
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
    use crate::Jwt;

    /// A key pair of 2048 bits that is used for nothing else.
    fn key() -> SigningKey {
        let text = include_str!("signing/key.b64").replace('\n', "");
        SigningKey::from_pkcs8(None, &STANDARD.decode(text).unwrap()).unwrap()
    }

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
        use rustls_pki_types::SubjectPublicKeyInfoDer;
        use rustls_pki_types::pem::PemObject as _;
        let public = key().public();
        let pem = public.document()["value"].as_str().unwrap().to_owned();
        let info = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).unwrap();
        assert!(info.as_ref().ends_with(public.der()));
        assert_eq!(public.exponent, [1, 0, 1]);
        assert_eq!(public.modulus.len(), 256);
        assert!(public.id.starts_with("weir-"));
    }

    /// What a key signs is verified by its public half, by its document, and only as RS256.
    #[test]
    fn signs_what_its_public_half_verifies() {
        let key = key();
        let claims = Map::from_iter([("sub".to_owned(), Value::from("alice"))]);
        let token = key.sign("https://uaa.example/token_keys", &claims);
        let jwt = Jwt::parse(&token, 4096).unwrap();
        assert_eq!(key.public().key().verify(&jwt), Ok(()));
        let document = json!({"keys": [key.public().document()]}).to_string();
        let published = crate::KeySet::parse(document.as_bytes()).unwrap();
        assert_eq!(published.verify(&jwt), Ok(()));
        let other = key.sign_text(&json!({"alg": "RS512", "kid": key.id()}).to_string(), "{}");
        let other = Jwt::parse(&other, 4096).unwrap();
        assert_eq!(published.verify(&other), Err(crate::Flaw::Algorithm));
    }
}
