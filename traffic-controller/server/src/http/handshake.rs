//! The opening handshake of WebSocket (RFC 6455 §4.2).

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, request};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// The reason for which a request is not a WebSocket handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAHandshake {
    #[error(
        "websocket: the client is not using the websocket protocol: `websocket` not in `Upgrade`, or `upgrade` not in `Connection`"
    )]
    NoUpgrade,
    #[error("websocket: request method is not GET")]
    Method,
    #[error("websocket: HTTP version is not 1.1")]
    Version,
    #[error("websocket: unsupported version: 13 not in `Sec-Websocket-Version`")]
    ProtocolVersion,
    #[error("websocket: `Sec-WebSocket-Key` is missing, or not 16 bytes in base64")]
    Key,
}

/// Checks the request. Returns the value of `Sec-WebSocket-Accept` for the response.
pub(crate) fn check(request: &request::Parts) -> Result<HeaderValue, NotAHandshake> {
    let headers = &request.headers;
    if !has_word(headers, CONNECTION, "upgrade") || !has_word(headers, UPGRADE, "websocket") {
        return Err(NotAHandshake::NoUpgrade);
    }
    if request.method != Method::GET {
        return Err(NotAHandshake::Method);
    }
    if request.version != Version::HTTP_11 {
        return Err(NotAHandshake::Version);
    }
    if !has_word(headers, SEC_WEBSOCKET_VERSION, "13") {
        return Err(NotAHandshake::ProtocolVersion);
    }
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .map(HeaderValue::as_bytes)
        .ok_or(NotAHandshake::Key)?;
    if !is_key(key) {
        return Err(NotAHandshake::Key);
    }
    HeaderValue::try_from(derive_accept_key(key)).map_err(|_| NotAHandshake::Key)
}

/// Adds the headers of the response that switches protocols.
pub(crate) fn answer(accept: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
}

/// Returns whether one of the comma-separated words of the header `name` is `word`, ignoring case.
fn has_word(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(word))
}

/// Returns whether a key is 16 bytes in padded Base64: 22 characters and two `=`. The bytes themselves do not matter.
fn is_key(key: &[u8]) -> bool {
    // A key is 16 bytes in base64, which end with two padding characters.
    let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    matches!(key, [digits @ .., b'=', b'='] if digits.len() == 22 && digits.iter().all(alphabet))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn parts(method: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut builder = request::Builder::new().method(method).uri("/firehose/x");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    /// The example in RFC 6455 §1.3.
    #[test]
    fn the_rfc_example_is_accepted() {
        assert_eq!(check(&parts("GET", &GOOD)).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn each_missing_part_is_named() {
        let without = |name: &str| GOOD.into_iter().filter(|header| header.0 != name).collect::<Vec<_>>();
        let with = |name: &'static str, value| {
            let mut headers = without(name);
            headers.push((name, value));
            headers
        };
        for (method, headers, error) in [
            ("GET", without("connection"), NotAHandshake::NoUpgrade),
            ("GET", without("upgrade"), NotAHandshake::NoUpgrade),
            ("GET", with("upgrade", "h2c"), NotAHandshake::NoUpgrade),
            ("POST", GOOD.to_vec(), NotAHandshake::Method),
            ("GET", without("sec-websocket-version"), NotAHandshake::ProtocolVersion),
            (
                "GET",
                with("sec-websocket-version", "8"),
                NotAHandshake::ProtocolVersion,
            ),
            ("GET", without("sec-websocket-key"), NotAHandshake::Key),
            ("GET", with("sec-websocket-key", "c2hvcnQ="), NotAHandshake::Key),
            (
                "GET",
                with("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZ***"),
                NotAHandshake::Key,
            ),
        ] {
            assert_eq!(check(&parts(method, &headers)), Err(error), "{headers:?}");
        }
    }
}
