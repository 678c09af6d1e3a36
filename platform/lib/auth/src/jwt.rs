//! The form that a token must have before its key is looked up.
//!
//! A token does not decide how it is checked. Its algorithm must be RS256, and its `kid` is only a name that is looked
//! up.

use weir_jose::{Algorithm, Flaw, Jwt};

use crate::Denied;

/// The longest token that is parsed, in bytes. The token of a user with 500 groups is shorter.
const LONGEST_TOKEN: usize = 32 << 10;

/// The types of tokens (`typ`) that are access tokens. A token without a type is accepted as well.
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

/// A token with an acceptable header. Its signature is not checked yet.
pub(crate) struct ParsedToken<'t> {
    pub(crate) jwt: Jwt<'t>,
    /// The name of the key with which the token claims to be signed.
    pub(crate) key_id: String,
}

impl<'t> ParsedToken<'t> {
    /// Parses a token and checks its header.
    pub(crate) fn parse(token: &'t str) -> Result<Self, Flaw> {
        let jwt = Jwt::parse(token, LONGEST_TOKEN)?;
        if jwt.algorithm() != Some(Algorithm::Rs256) {
            return Err(Flaw::Algorithm);
        }
        let kind = jwt.kind();
        // Media types are compared without case (RFC 7515, section 4.1.9).
        if kind.is_some_and(|kind| !TYPES.iter().any(|known| kind.eq_ignore_ascii_case(known))) {
            return Err(Flaw::Type);
        }
        let key_id = jwt.key_id().filter(|id| !id.is_empty()).ok_or(Flaw::NoKey)?.to_owned();
        Ok(Self { jwt, key_id })
    }
}
