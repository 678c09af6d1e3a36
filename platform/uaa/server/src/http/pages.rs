//! HTML pages with embedded CSS, without scripts and external resources. All text that is not part of a template is escaped.

use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use ring::digest;
use std::sync::LazyLock;

mod consent;
mod login;
mod notes;

pub(crate) use consent::{Consent, ConsentScope};
pub(crate) use login::Login;
pub(crate) use notes::{failure, home, passcode};

/// The style sheet, which is embedded in each page.
const STYLE: &str = include_str!("pages/style.css");

/// The hash of the style sheet. The content security policy allows this style and no other.
static STYLE_HASH: LazyLock<String> =
    LazyLock::new(|| STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes())));

/// The logo.
const MARK: &str = "<svg class=\"mark\" viewBox=\"0 0 48 48\" width=\"44\" height=\"44\" aria-hidden=\"true\" focusable=\"false\">\
    <rect width=\"48\" height=\"48\" rx=\"12\"/>\
    <path d=\"M9 15h14c5 0 5 4 7 9s4 9 9 9\"/><path d=\"M9 22h11c4 0 5 3 6 6s4 8 9 9\"/>\
    <path d=\"M9 29h8c3 0 4 2 5 4s3 5 7 6\"/></svg>";

/// Escapes text for elements and quoted attributes of HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Returns a hidden field of a form.
pub(crate) fn hidden(name: &str, value: &str) -> String {
    format!(
        "<input type=\"hidden\" name=\"{}\" value=\"{}\">",
        escape(name),
        escape(value)
    )
}

/// Whether a client accepts HTML, as browsers do; other clients get JSON.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html") || accept.contains("application/xhtml+xml"))
}

/// Returns a page. Its form may redirect to the origins `targets`, and to this UAA.
pub(crate) fn page(status: StatusCode, title: &str, content: &str, targets: &[String]) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"robots\" content=\"noindex\">\n\
         <title>{} · Weir</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{MARK}\n{content}\n</main>\n\
         </body>\n</html>\n",
        escape(title)
    );
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; form-action 'self'{}; base-uri 'none'; frame-ancestors 'none'",
        *STYLE_HASH,
        targets.iter().map(|target| format!(" {target}")).collect::<String>()
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // With `no-referrer`, browsers would send `Origin: null` with forms, which `Browser::check` refuses.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text from requests does not become markup.
    #[test]
    fn escapes() {
        assert_eq!(
            escape("<script>alert('x')</script> & \"y\""),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot;"
        );
        assert_eq!(
            hidden("a\"b", "\"><script>"),
            "<input type=\"hidden\" name=\"a&quot;b\" value=\"&quot;&gt;&lt;script&gt;\">"
        );
    }

    /// Browsers get pages, and other clients get JSON.
    #[test]
    fn browsers_get_pages() {
        let accepts = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(value));
            is_wanted(&headers)
        };
        assert!(accepts(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        ));
        assert!(!accepts("application/json") && !accepts("*/*") && !is_wanted(&HeaderMap::new()));
    }
}
