//! A token's three parts, and what is wrong with it.
//!
//! A token decides nothing about how it is checked: it must be RS256, its `kid` is a name to look up and nothing else,
//! and what it says about where keys are (`jku`, `x5u`, `jwk`, `x5c`) is not read.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;

use crate::Denied;
use crate::claims::Payload;

/// Longer ones are not looked at. The token of a user with 500 groups is shorter.
pub(crate) const LONGEST_TOKEN: usize = 32 << 10;

/// Longest name of a key.
const LONGEST_KEY_ID: usize = 256;

/// Why a token does not count. For logs: the client is told no more than [`Denied`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Flaw {
    #[error("it is longer than any token")]
    TooLong,
    #[error("it does not have three parts")]
    Parts,
    #[error("a part is not base64url")]
    Encoding,
    #[error("its header is not readable")]
    Header,
    #[error("its algorithm is not RS256")]
    Algorithm,
    #[error("it is not of a type that opens anything")]
    Type,
    #[error("it demands extensions that are not understood")]
    Critical,
    #[error("it names no key")]
    NoKey,
    #[error("its key is not one of the issuer's")]
    UnknownKey,
    #[error("its signature is wrong")]
    Signature,
    #[error("its claims are not readable")]
    Claims,
    #[error("it was issued by somebody else")]
    Issuer,
    #[error("it is meant for somebody else")]
    Audience,
    #[error("it is a refresh token")]
    RefreshToken,
    #[error("it is not valid yet")]
    NotYetValid,
    #[error("it has expired")]
    Expired,
    #[error("it was revoked")]
    Revoked,
}

impl From<Flaw> for Denied {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Expired => Self::Expired,
            Flaw::Revoked => Self::Revoked,
            _ => Self::Invalid,
        }
    }
}

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

/// A token whose header is as it must be. Nothing is known about its signature yet.
pub(crate) struct Jwt<'t> {
    signed: &'t str,
    payload: &'t str,
    signature: Vec<u8>,
    key_id: String,
}

impl<'t> Jwt<'t> {
    /// Takes a token apart.
    pub(crate) fn parse(token: &'t str) -> Result<Self, Flaw> {
        if token.len() > LONGEST_TOKEN {
            return Err(Flaw::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Flaw::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(Flaw::Parts)?;
        if payload.contains('.') {
            return Err(Flaw::Parts);
        }
        let header = decoded(header)?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| Flaw::Header)?;
        if header.alg != "RS256" {
            return Err(Flaw::Algorithm);
        }
        if header.crit.is_some() {
            return Err(Flaw::Critical);
        }
        let types = ["JWT", "at+jwt", "application/at+jwt"];
        if let Some(typ) = &header.typ
            && !types.iter().any(|known| typ.eq_ignore_ascii_case(known))
        {
            return Err(Flaw::Type);
        }
        let key_id = header
            .kid
            .filter(|kid| !kid.is_empty() && kid.len() <= LONGEST_KEY_ID)
            .ok_or(Flaw::NoKey)?
            .into_owned();
        Ok(Self {
            signed,
            payload,
            signature: decoded(signature)?,
            key_id,
        })
    }

    /// The name of the key that it claims to be signed with.
    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// What the signature is over.
    pub(crate) fn signed(&self) -> &[u8] {
        self.signed.as_bytes()
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The claims. To be read when the signature is good.
    pub(crate) fn payload(&self) -> Result<Payload, Flaw> {
        serde_json::from_slice(&decoded(self.payload)?).map_err(|_| Flaw::Claims)
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, Flaw> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Flaw::Encoding)
}
