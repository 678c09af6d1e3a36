//! Redirect URIs: what a client may register, and what counts as the one it registered.

use url::Url;

use crate::http::error::shown;

/// Whether a client may register this; if not, why. Redirects are compared as they stand: a pattern would not mean what its
/// author believes.
pub(crate) fn check(redirect: &str) -> Result<(), String> {
    let refused = |why: &str| Err(format!("redirect_uri {} {why}", shown(redirect)));
    if redirect.len() > 2048 || redirect.contains('*') {
        return refused("must be a whole URL without wildcards");
    }
    // A header has no others, and browsers disagree about what they become.
    if redirect.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b'\\') {
        return refused(
            "has blanks, backslashes or characters beyond ASCII: escape them, and write the host in Punycode",
        );
    }
    let Ok(url) = Url::parse(redirect) else {
        return refused("is no absolute URL");
    };
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return refused("must have no fragment and no user");
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(&url) => Ok(()),
        "http" => refused("must be `https`, or `http` on the loopback interface"),
        "javascript" | "data" | "vbscript" | "file" | "about" | "blob" | "ws" | "wss" | "ftp" => {
            refused("has a scheme that is not for this")
        }
        // An app of its own on a device (RFC 8252).
        _ => Ok(()),
    }
}

/// Whether a URL is of the machine on which it is opened.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether a redirect URI is the registered one: by its bytes; on the loopback interface with any port, because apps
/// there take the port that is free (RFC 8252, 7.3).
pub(crate) fn is_registered(known: &str, named: &str) -> bool {
    if known == named {
        return true;
    }
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

    /// Byte for byte; only the port of a loopback address may differ.
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
