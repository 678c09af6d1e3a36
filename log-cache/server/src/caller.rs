//! Who asks the faces for clients with a token, and what that lets them see: decided here, once, for REST and SQL alike.
//!
//! The only thing of a request that says who asks is its header `Authorization`. Whatever a proxy, or somebody who plays
//! one, says about the caller in other headers is not read anywhere; a cookie is none either, so that no page of somebody
//! else can ask in a browser's name.

use std::sync::Arc;

use http::HeaderMap;
use weir_auth::{Authorizer, Caller, Denied, Scope, from_header};
use weir_log_cache_store::Visibility;

/// Who shows a certificate, as a caller among others: names of certificates say nothing here.
pub(crate) const OF_THE_RING: &str = "certificate";

/// Asks `authorizer` who sent these headers.
pub(crate) async fn caller(authorizer: &dyn Authorizer, headers: &HeaderMap) -> Result<Caller, Denied> {
    authorizer.caller(from_header(headers)?).await
}

/// The row filter of everything that a caller asks.
pub(crate) fn visibility(caller: &Caller) -> Visibility {
    match caller.scope() {
        Scope::Everything => Visibility::All,
        Scope::Sources(sources) if sources.is_empty() => Visibility::Nothing,
        Scope::Sources(sources) => Visibility::Sources(Arc::clone(sources)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A scope is a visibility, and nothing becomes everything.
    #[test]
    fn scopes_are_visibilities() {
        let of = |scope| visibility(&Caller::new("x", scope));
        assert_eq!(of(Scope::Everything), Visibility::All);
        assert_eq!(of(Scope::sources(["a"])), Visibility::sources(["a"]));
        assert_eq!(of(Scope::sources([""; 0])), Visibility::Nothing);
        assert!(!of(Scope::sources([""])).shows(""));
    }
}
