//! JSON Web Tokens in their compact form: written with our key, taken apart with care.
//!
//! Taking apart ([`Parsed`]) believes nothing: three parts, base64url without padding, a header that is an object with
//! each name once. Which algorithm is good is decided by who verifies, never by the header; a key named by the header is
//! looked up among known ones and nowhere else (`jku`, `jwk`, `x5u` and the like are not followed).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Longest token that is looked at.
pub(crate) const LONGEST: usize = 256 * 1024;

/// Longest key id.
const LONGEST_KID: usize = 255;

/// What is wrong with a token. The texts never repeat what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It is no token at all.
    Form,
    /// It is signed in a way that is not accepted.
    Algorithm,
    /// It names a key that is not known, or none.
    Key,
    /// The signature is not that key's.
    Signature,
    /// It was issued by somebody else.
    Issuer,
    /// It is for somebody else.
    Audience,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// Something else in it is not as it should be.
    Claims,
    /// It was revoked.
    Revoked,
}

impl Flaw {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Form => "The token is malformed",
            Self::Algorithm => "The token is not signed as it should be",
            Self::Key => "The token is signed with a key that is not known",
            Self::Signature => "The token's signature is not valid",
            Self::Issuer => "The token is from another issuer",
            Self::Audience => "The token is for another audience",
            Self::Expired => "The token has expired",
            Self::NotYet => "The token is not valid yet",
            Self::Claims => "The token does not say what it should",
            Self::Revoked => "The token has been revoked",
        }
    }
}

/// The header that we write.
#[derive(Debug, Serialize)]
struct Header<'h> {
    alg: &'h str,
    jku: &'h str,
    kid: &'h str,
    typ: &'h str,
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

/// A token that was taken apart. Nothing in it is true yet.
#[derive(Debug)]
pub(crate) struct Parsed<'t> {
    pub(crate) algorithm: String,
    pub(crate) kid: Option<String>,
    pub(crate) signed: &'t str,
    pub(crate) signature: Vec<u8>,
    payload: Vec<u8>,
}

/// What we read of a header. Unknown names are ignored, but for `crit`, which forbids just that.
#[derive(Debug, Deserialize)]
struct ForeignHeader {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'t> Parsed<'t> {
    /// Takes a token apart.
    pub(crate) fn parse(token: &'t str) -> Result<Self, Flaw> {
        if token.len() > LONGEST {
            return Err(Flaw::Form);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Flaw::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(Flaw::Form)?;
        if payload.contains('.') {
            return Err(Flaw::Form);
        }
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| Flaw::Form);
        let header: ForeignHeader = serde_json::from_slice(&decode(header)?).map_err(|_| Flaw::Form)?;
        if header.crit.is_some() || header.kid.as_ref().is_some_and(|kid| kid.len() > LONGEST_KID) {
            return Err(Flaw::Form);
        }
        Ok(Self {
            algorithm: header.alg,
            kid: header.kid,
            signed,
            signature: decode(signature)?,
            payload: decode(payload)?,
        })
    }

    /// What it says; to be believed once the signature was found good.
    pub(crate) fn claims<T: for<'de> Deserialize<'de>>(&self) -> Result<T, Flaw> {
        serde_json::from_slice(&self.payload).map_err(|_| Flaw::Claims)
    }
}

/// One value, or a list of them: how `aud` may be written.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::One(one) => one == wanted,
            Self::Many(many) => many.iter().any(|one| one == wanted),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(many) => many.len(),
        }
    }
}

#[cfg(test)]
mod tests;
