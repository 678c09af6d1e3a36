//! `/set-cookie` stores a browser's token in a cookie (logging §11).

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, ORIGIN, SET_COOKIE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::Body;
use super::text::form_value;

/// The largest size of the form, in bytes.
pub(super) const MAX_FORM: usize = 4 << 10;

/// Returns a response that sets the cookie for which `form` asks. The form is the body, or the query of a request
/// without one.
pub(super) fn set_cookie(headers: &HeaderMap, form: Option<&str>, system_domain: &str) -> Response<Body> {
    let cookie = form.and_then(|form| cookie(form, system_domain));
    let mut response = Response::new(Body::default());
    let answer = response.headers_mut();
    // The original repeats any origin here. The cookie is checked against the origin when it is used.
    let origin = headers
        .get(ORIGIN)
        .cloned()
        .unwrap_or_else(|| HeaderValue::from_static(""));
    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Content-Type"));
    match cookie {
        Some(cookie) => drop(answer.insert(SET_COOKIE, cookie)),
        None => *response.status_mut() = StatusCode::BAD_REQUEST,
    }
    response
}

/// Returns the cookie. Returns `None` if its name or value is missing or not allowed in a cookie.
fn cookie(form: &str, system_domain: &str) -> Option<HeaderValue> {
    let name = form_value(form, "CookieName").filter(|name| !name.is_empty() && name.bytes().all(is_token))?;
    let value = form_value(form, "CookieValue").filter(|value| !value.is_empty() && value.bytes().all(is_value))?;
    // As in Go, a value with a space or a comma is quoted.
    let value = if value.contains([' ', ',']) {
        format!("\"{value}\"")
    } else {
        value
    };
    let domain = if system_domain.is_empty() {
        String::new()
    } else {
        format!("; Domain=doppler.{system_domain}")
    };
    HeaderValue::try_from(format!("{name}={value}{domain}; HttpOnly; Secure; SameSite=Lax")).ok()
}

/// Returns whether a byte may occur in a token (RFC 9110 §5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// Returns whether a byte may occur in the value of a cookie (RFC 6265 §4.1.1), or is a space or comma, which Go
/// quotes.
const fn is_value(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b';' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(form: Option<&str>) -> Response<Body> {
        let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static("https://console.example"))]);
        set_cookie(&headers, form, "sys.example")
    }

    #[test]
    fn a_complete_form_gets_its_cookie() {
        let response = answer(Some("CookieName=authorization&CookieValue=bearer%2520x"));
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            response.headers()[SET_COOKIE],
            "authorization=bearer%20x; Domain=doppler.sys.example; HttpOnly; Secure; SameSite=Lax"
        );
        assert_eq!(
            response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://console.example"
        );
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(response.headers()[ACCESS_CONTROL_ALLOW_HEADERS], "Content-Type");
    }

    /// No form can add a header or an attribute.
    #[test]
    fn incomplete_and_hostile_forms_are_refused() {
        for form in [
            None,
            Some(""),
            Some("CookieName=a"),
            Some("CookieValue=a"),
            Some("CookieName=&CookieValue=a"),
            Some("CookieName=a%0d%0aX:y&CookieValue=a"),
            Some("CookieName=a&CookieValue=b%0d%0aX:y"),
            Some("CookieName=a&CookieValue=b;Domain=evil"),
            Some("CookieName=a=b&CookieValue=%00"),
            Some("CookieName=%zz&CookieValue=a"),
        ] {
            let response = answer(form);
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{form:?}");
            assert!(!response.headers().contains_key(SET_COOKIE), "{form:?}");
        }
    }
}
