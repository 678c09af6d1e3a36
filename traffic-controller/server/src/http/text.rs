//! Percent decoding (RFC 3986 §2.1), and form values.

/// Decodes `%xx`, and with `plus` also `+` as a space, as in forms. Returns `None` if an escape sequence is malformed
/// or the result is not UTF-8.
pub(crate) fn percent_decode(text: &str, plus: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' if plus => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Returns the first value of `name` in an `application/x-www-form-urlencoded` text, or `None` if there is none or it
/// is malformed.
pub(crate) fn form_value(form: &str, name: &str) -> Option<String> {
    form.split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| percent_decode(key, true).as_deref() == Some(name))
        .and_then(|(_, value)| percent_decode(value, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_or_refuses() {
        assert_eq!(percent_decode("a%20b+c", true).as_deref(), Some("a b c"));
        assert_eq!(percent_decode("a%20b+c", false).as_deref(), Some("a b+c"));
        for malformed in ["%", "%4", "%zz", "%+1", "%ff"] {
            assert_eq!(percent_decode(malformed, true), None, "{malformed}");
        }
        assert_eq!(
            form_value("CookieName=a&CookieValue=b%3D", "CookieValue").as_deref(),
            Some("b=")
        );
        assert_eq!(form_value("CookieName", "CookieName").as_deref(), Some(""));
        assert_eq!(form_value("", "CookieName"), None);
    }
}
