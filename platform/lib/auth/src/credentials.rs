//! Finds the token of a request, in a header or in a cookie.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::{AUTHORIZATION, COOKIE};

use crate::Denied;

/// The token in the value `bearer TOKEN` of `Authorization`. The scheme may be written in any case, or be left out.
/// `None` if there is no token.
#[must_use]
pub fn bearer(value: &str) -> Option<&str> {
    let value = value.trim();
    let token = match value.split_once(char::is_whitespace) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
        // The name of the scheme alone is no token.
        _ if value.eq_ignore_ascii_case("bearer") => "",
        _ => value,
    };
    (!token.is_empty()).then_some(token)
}

/// The credentials of a request: the header `Authorization`, or else the cookie `authorization` (URL-decoded), as the
/// original traffic controller accepts it. They are not checked, and still contain the scheme.
///
/// # Errors
/// See [`from_header`].
pub fn credentials(headers: &HeaderMap) -> Result<Option<Cow<'_, str>>, Denied> {
    // A header counts even if it is empty. A client that sends one does not mean its cookie.
    if headers.contains_key(AUTHORIZATION) {
        return Ok(from_header(headers)?.map(Cow::Borrowed));
    }
    Ok(from_cookie(headers))
}

/// The header `Authorization` with its scheme. `None` if there is none, or if it is empty.
///
/// # Errors
/// [`Denied::Invalid`] if it is not text, or if there are two: a proxy and a server that each read another one of them
/// would not mean the same caller.
pub fn from_header(headers: &HeaderMap) -> Result<Option<&str>, Denied> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Denied::Invalid);
    }
    let value = value.to_str().map_err(|_| Denied::Invalid)?;
    Ok((!value.trim().is_empty()).then_some(value))
}

/// The cookie `authorization`, URL-decoded. Browsers send cookies with requests that other sites cause, so a server
/// that accepts it has to check `Origin` as well.
#[must_use]
pub fn from_cookie(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == "authorization")
        // A cookie's value may stand in quotes (RFC 6265).
        .and_then(|(_, value)| url_decoded(value.trim_matches('"')))
        .filter(|value| !value.trim().is_empty())
}

/// Decodes a URL-encoded text. Returns `None` where an escape is incomplete or the result is not UTF-8.
fn url_decoded(value: &str) -> Option<Cow<'_, str>> {
    if !value.contains(['%', '+']) {
        return Some(Cow::Borrowed(value));
    }
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (hex(bytes.next()?)?, hex(bytes.next()?)?);
                high << 4 | low
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn found(header: &'static str, value: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.append(header, HeaderValue::from_static(value));
        credentials(&headers).unwrap().map(Cow::into_owned)
    }

    /// The scheme may be written in any case, or be left out.
    #[test]
    fn schemes_are_stripped() {
        for value in ["bearer abc", "Bearer abc", "BEARER   abc ", "abc", " abc"] {
            assert_eq!(bearer(value), Some("abc"), "{value}");
        }
        for value in ["", "  ", "bearer", "Bearer  "] {
            assert_eq!(bearer(value), None, "{value}");
        }
        assert_eq!(bearer("basic abc"), Some("basic abc"));
    }

    /// The header counts before the cookie, the cookie is URL-decoded, and other cookies are ignored.
    #[test]
    fn header_then_cookie() {
        assert_eq!(found("authorization", "bearer abc").as_deref(), Some("bearer abc"));
        assert_eq!(
            found("cookie", "a=b; authorization=bearer%20a%2Fc; c=d").as_deref(),
            Some("bearer a/c")
        );
        assert_eq!(
            found("cookie", "authorization=bearer+abc").as_deref(),
            Some("bearer abc")
        );
        assert_eq!(found("cookie", "authorisation=abc"), None);
        assert_eq!(found("authorization", " "), None);
        let mut both = HeaderMap::new();
        both.insert(COOKIE, HeaderValue::from_static("authorization=cookie"));
        both.insert(AUTHORIZATION, HeaderValue::from_static("header"));
        assert_eq!(credentials(&both).unwrap().as_deref(), Some("header"));
        // An empty header does not make the cookie count.
        both.insert(AUTHORIZATION, HeaderValue::from_static(""));
        assert_eq!(credentials(&both), Ok(None));
    }

    /// A cookie with a broken escape is no credential, and a header with other bytes is invalid.
    #[test]
    fn broken_cookies_are_ignored() {
        for value in [
            "authorization=%",
            "authorization=%4",
            "authorization=%zz",
            "authorization=%ff",
            "authorization",
            "=",
        ] {
            assert_eq!(found("cookie", value), None, "{value}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(credentials(&headers), Err(Denied::Invalid));
    }

    /// Two headers are refused, even if they are equal.
    #[test]
    fn duplicates_are_refused() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("bearer good"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("bearer good"));
        assert_eq!(credentials(&headers), Err(Denied::Invalid));
        assert_eq!(from_header(&headers), Err(Denied::Invalid));
    }
}
