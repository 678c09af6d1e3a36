//! Determines the caller of a request with a token, and the sources that it may read, for REST and SQL.
//!
//! Only the header `Authorization` identifies the caller. Other headers, which a client can set as well as a proxy, are
//! not read. Cookies are not accepted either, so that a foreign web page cannot make requests in the name of a
//! browser's user.

use std::sync::Arc;

use http::HeaderMap;
use weir_auth::{Authorizer, Caller, Denied, Scope, from_header};
use weir_log_cache_store::Visibility;

/// The caller name of all clients with a certificate. Names within certificates are not used.
pub(crate) const CERTIFICATE_CALLER: &str = "certificate";

/// Returns the caller that sent these headers.
pub(crate) async fn caller(authorizer: &dyn Authorizer, headers: &HeaderMap) -> Result<Caller, Denied> {
    authorizer.caller(from_header(headers)?).await
}

/// Returns the visibility for all requests of a caller.
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

    /// Each scope becomes the equivalent visibility, and an empty one shows nothing.
    #[test]
    fn scopes_become_visibilities() {
        let of = |scope| visibility(&Caller::new("x", scope));
        assert_eq!(of(Scope::Everything), Visibility::All);
        assert_eq!(of(Scope::sources(["a"])), Visibility::sources(["a"]));
        assert_eq!(of(Scope::sources([""; 0])), Visibility::Nothing);
        assert!(!of(Scope::sources([""])).shows(""));
    }
}
