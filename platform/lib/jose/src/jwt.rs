//! A token in its compact form, taken apart.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::{Algorithm, Flaw};

/// Longest key id that is looked up, in bytes.
const LONGEST_KEY_ID: usize = 255;

/// What is read of a header. Other names are ignored, but for `crit`, which forbids just that.
#[derive(Deserialize)]
struct Header<'t> {
    #[serde(borrow)]
    alg: Cow<'t, str>,
    #[serde(borrow)]
    kid: Option<Cow<'t, str>>,
    #[serde(borrow)]
    typ: Option<Cow<'t, str>>,
    crit: Option<IgnoredAny>,
}

/// A token that was taken apart. Nothing in it is true before a key has verified it.
#[derive(Debug)]
pub struct Jwt<'t> {
    signed: &'t str,
    signature: Vec<u8>,
    payload: Vec<u8>,
    algorithm: Option<Algorithm>,
    key_id: Option<String>,
    kind: Option<String>,
}

impl<'t> Jwt<'t> {
    /// Takes a token of at most `longest` bytes apart.
    ///
    /// # Errors
    /// When it is longer, does not have three parts in base64url, or has a header that cannot be read.
    pub fn parse(token: &'t str, longest: usize) -> Result<Self, Flaw> {
        if token.len() > longest {
            return Err(Flaw::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Flaw::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(Flaw::Parts)?;
        if payload.contains('.') {
            return Err(Flaw::Parts);
        }
        let header = decoded(header)?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| Flaw::Header)?;
        if header.crit.is_some() {
            return Err(Flaw::Critical);
        }
        if header.kid.as_ref().is_some_and(|kid| kid.len() > LONGEST_KEY_ID) {
            return Err(Flaw::Header);
        }
        Ok(Self {
            signed,
            signature: decoded(signature)?,
            payload: decoded(payload)?,
            algorithm: Algorithm::named(&header.alg),
            key_id: header.kid.map(Cow::into_owned),
            kind: header.typ.map(Cow::into_owned),
        })
    }

    /// Returns the algorithm that the header names; `None` if it is not one of the list. A key decides whether it counts.
    #[must_use]
    pub const fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm
    }

    /// Returns the name of the key that the token claims to be signed with (`kid`).
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Returns the type that the header names (`typ`).
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref()
    }

    /// Returns what the signature is over.
    pub(crate) const fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Reads the claims, which are to be believed once a key has verified the token.
    ///
    /// # Errors
    /// [`Flaw::Claims`] when they are not of the form of `T`.
    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, Flaw> {
        serde_json::from_slice(&self.payload).map_err(|_| Flaw::Claims)
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, Flaw> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Encoding)
}

#[cfg(test)]
mod tests;
