//! A public key, and what it has signed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

use crate::{Algorithm, Flaw, Jwt};

/// A public key that verifies signatures. Symmetric keys have no form here.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    id: Option<String>,
    /// The only algorithm that the key's owner uses it for; `None` where the owner does not say.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    /// Big-endian numbers without leading zeros.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// Uncompressed points.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A JWK as it is written.
#[derive(Deserialize)]
pub(crate) struct Jwk {
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

impl Key {
    /// Returns the key of a JWK; `None` if it is for another use or algorithm, or is not complete.
    pub(crate) fn read(jwk: Jwk) -> Option<Self> {
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return None;
        }
        let algorithm = match jwk.alg.as_deref() {
            Some(name) => Some(Algorithm::named(name)?),
            None => None,
        };
        // Some issuers write padding.
        let decode = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?.trim_end_matches('=')).ok();
        let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Material::Rsa {
                modulus: number(decode(jwk.n)?)?,
                exponent: number(decode(jwk.e)?)?,
            },
            ("EC", Some("P-256")) => Material::P256(point(&decode(jwk.x)?, &decode(jwk.y)?, 32)?),
            ("EC", Some("P-384")) => Material::P384(point(&decode(jwk.x)?, &decode(jwk.y)?, 48)?),
            ("OKP", Some("Ed25519")) => Material::Ed25519(decode(jwk.x)?),
            _ => return None,
        };
        Some(Self {
            id: jwk.kid,
            algorithm,
            material,
        })
    }

    /// Returns the key that verifies what an RSA key pair of ours has signed, by RS256 and nothing else.
    pub(crate) const fn rs256(id: String, modulus: Vec<u8>, exponent: Vec<u8>) -> Self {
        Self {
            id: Some(id),
            algorithm: Some(Algorithm::Rs256),
            material: Material::Rsa { modulus, exponent },
        }
    }

    /// Returns the key's name (`kid`).
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Returns the key for this algorithm alone; `None` if its type does not have it, or its owner uses another.
    #[must_use]
    pub fn only_for(self, algorithm: Algorithm) -> Option<Self> {
        self.allows(algorithm).then_some(Self {
            algorithm: Some(algorithm),
            ..self
        })
    }

    /// Whether the key may have signed something by this algorithm: its type has it, and its owner does not exclude it.
    fn allows(&self, algorithm: Algorithm) -> bool {
        use Algorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
        let fits = match self.material {
            Material::Rsa { .. } => matches!(algorithm, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512),
            Material::P256(_) => algorithm == Es256,
            Material::P384(_) => algorithm == Es384,
            Material::Ed25519(_) => algorithm == EdDsa,
        };
        fits && self.algorithm.is_none_or(|own| own == algorithm)
    }

    /// Checks that this key has signed the token.
    ///
    /// # Errors
    /// [`Flaw::Algorithm`] when the token names an algorithm that is not this key's, [`Flaw::Signature`] when the signature
    /// is another's.
    pub fn verify(&self, token: &Jwt<'_>) -> Result<(), Flaw> {
        let algorithm = token.algorithm().filter(|named| self.allows(*named));
        let algorithm = algorithm.ok_or(Flaw::Algorithm)?;
        let (signed, by) = (token.signed(), token.signature());
        let verified = match &self.material {
            Material::Rsa { modulus, exponent } => {
                let parameters = match algorithm {
                    Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
                    Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => return Err(Flaw::Algorithm),
                };
                let key = RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.verify(parameters, signed, by)
            }
            Material::P256(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(signed, by)
            }
            Material::P384(point) => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(signed, by)
            }
            Material::Ed25519(key) => UnparsedPublicKey::new(&signature::ED25519, key).verify(signed, by),
        };
        verified.map_err(|_| Flaw::Signature)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.material {
            Material::Rsa { modulus, .. } => write!(formatter, "Key({} bits)", modulus.len() * 8),
            Material::P256(_) => formatter.write_str("Key(P-256)"),
            Material::P384(_) => formatter.write_str("Key(P-384)"),
            Material::Ed25519(_) => formatter.write_str("Key(Ed25519)"),
        }
    }
}

/// A number without leading zeros, as `ring` wants it: some issuers write a sign byte. `None` if it is zero.
fn number(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.drain(..zeros);
    (!bytes.is_empty()).then_some(bytes)
}

/// An uncompressed point whose coordinates have `length` bytes each.
fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    (x.len() == length && y.len() == length).then(|| [&[4], x, y].concat())
}
