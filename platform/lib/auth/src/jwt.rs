//! The form that a token must have before anybody asks for its key.
//!
//! A token decides nothing about how it is checked: it must be RS256, and its `kid` is a name to look up and nothing else.

use weir_jose::{Algorithm, Flaw, Jwt};

use crate::Denied;

/// Longest token that is looked at, in bytes. The token of a user with 500 groups is shorter.
const LONGEST_TOKEN: usize = 32 << 10;

/// The types of tokens (`typ`) that open something. A token without a type is one of them.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

impl From<Flaw> for Denied {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::Expired => Self::Expired,
            Flaw::Revoked => Self::Revoked,
            _ => Self::Invalid,
        }
    }
}

/// A token whose header is as it must be. Nothing is known about its signature yet.
pub(crate) struct Shown<'t> {
    pub(crate) jwt: Jwt<'t>,
    /// The name of the key that it claims to be signed with.
    pub(crate) key_id: String,
}

impl<'t> Shown<'t> {
    /// Takes a token apart.
    pub(crate) fn parse(token: &'t str) -> Result<Self, Flaw> {
        let jwt = Jwt::parse(token, LONGEST_TOKEN)?;
        if jwt.algorithm() != Some(Algorithm::Rs256) {
            return Err(Flaw::Algorithm);
        }
        let kind = jwt.kind();
        if kind.is_some_and(|kind| !TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known))) {
            return Err(Flaw::Type);
        }
        let key_id = jwt.key_id().filter(|id| !id.is_empty()).ok_or(Flaw::NoKey)?.to_owned();
        Ok(Self { jwt, key_id })
    }
}
