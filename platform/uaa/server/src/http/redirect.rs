//! Redirect URIs: which a client may register, and which match a registered one.

use url::Url;

use crate::http::error::excerpt;

/// Checks that a client may register a redirect URI. The error says why not. Wildcards are refused: URIs are compared byte by
/// byte, and a pattern would never match.
pub(crate) fn check(redirect: &str) -> Result<(), String> {
    let refused = |why: &str| Err(format!("redirect_uri {} {why}", excerpt(redirect)));
    if redirect.len() > 2048 || redirect.contains('*') {
        return refused("must be a whole URL without wildcards");
    }
    // A header cannot have other characters, and browsers differ in how they escape them.
    if redirect.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
        return refused(
            "has blanks, backslashes or characters beyond ASCII: escape them, and write the host in Punycode",
        );
    }
    let Ok(url) = Url::parse(redirect) else {
        return refused("is not an absolute URL");
    };
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return refused("must have no fragment and no user");
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(&url) => Ok(()),
        "http" => refused("must be `https`, or `http` on the loopback interface"),
        "javascript" | "data" | "vbscript" | "file" | "about" | "blob" | "ws" | "wss" | "ftp" => {
            refused("has a scheme that cannot be redirected to")
        }
        // A private scheme of a native app (RFC 8252 §7.1).
        _ => Ok(()),
    }
}

/// Whether the host of a URL is the loopback interface.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether a redirect URI matches the registered one `known`. They must be equal byte by byte; on the loopback interface the port
/// may differ, because native apps listen on any free port (RFC 8252 §7.3).
pub(crate) fn is_registered(known: &str, named: &str) -> bool {
    if known == named {
        return true;
    }
    // A URL parser would drop or change such characters: the browser would get another URI than the one compared.
    if named.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
        return false;
    }
    let (Ok(known), Ok(named)) = (Url::parse(known), Url::parse(named)) else {
        return false;
    };
    known.scheme() == "http"
        && named.scheme() == "http"
        && is_loopback(&known)
        && known.host() == named.host()
        && known.path() == named.path()
        && known.query() == named.query()
        && named.fragment().is_none()
        && named.username().is_empty()
        && named.password().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// URIs must be equal byte by byte; only the port of a loopback address may differ.
    #[test]
    fn redirects_are_what_is_registered() {
        let known = "https://app.example/cb";
        assert!(is_registered(known, known));
        for named in [
            "https://app.example/cb/",
            "https://app.example/cb?x=1",
            "https://app.example/cb#x",
            "https://app.example/CB",
            "https://app.example:443/cb",
            "https://APP.example/cb",
            "https://app.example/./cb",
            "https://app.example/x/../cb",
            "https://app.example@evil.example/cb",
            "https://evil.example/cb",
            "https://app.example.evil.example/cb",
            "http://app.example/cb",
            "https://app.example\\@evil.example/cb",
            "//app.example/cb",
            "",
        ] {
            assert!(!is_registered(known, named), "{named}");
        }
        let local = "http://127.0.0.1/cb";
        for named in ["http://127.0.0.1:5000/cb", "http://127.0.0.1/cb"] {
            assert!(is_registered(local, named), "{named}");
        }
        for named in [
            "http://localhost:5000/cb",
            "http://127.0.0.2:5000/cb",
            "http://127.0.0.1:5000/other",
            "http://127.0.0.1:5000/cb#x",
            "http://user@127.0.0.1:5000/cb",
            "http://127.0.0.1:5000\\@evil.example/cb",
            "https://127.0.0.1:5000/cb",
        ] {
            assert!(!is_registered(local, named), "{named}");
        }
    }
}
