//! The reasons for which an authorization code or an assertion gives no token.

use weir_jose::Flaw;

/// The reason for which a code or an assertion is refused: `invalid_grant` of RFC 6749 §5.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidGrant {
    /// The code is unknown, used, expired, another client's, or its user or scopes do not exist any more. A client is not told
    /// which, because it may not be the client that the code was issued to.
    Code,
    /// The redirect URI is not the one that the code was issued for.
    RedirectUri,
    /// The PKCE verifier does not match the challenge (RFC 7636 §4.6).
    WrongVerifier,
    /// The code has a challenge, and the client shows no verifier.
    MissingVerifier,
    /// The client shows a verifier, and the code has no challenge: the challenge was removed from the request on its way.
    MissingChallenge,
    /// The client has no secret, and used no challenge.
    ChallengeRequired,
    /// The assertion is not valid.
    Assertion(Flaw),
    /// The assertion lacks the scope that lets a client exchange it.
    AssertionScope,
    /// The assertion is a client's, not a user's.
    AssertionWithoutUser,
    /// The user of the assertion was removed or is not active.
    AssertionUserGone,
    /// The provider of the assertion, or its keys, did not confirm it.
    AssertionNotConfirmed,
}
