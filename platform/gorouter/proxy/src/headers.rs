//! The headers that the router reads, sets and removes.
//!
//! Each file below knows one family. [`names`] has the names as statics, so that no request makes one.

pub(crate) mod client_certificate;
pub(crate) mod forwarded;
pub(crate) mod hop;
pub(crate) mod names;
pub(crate) mod rewrite;
pub(crate) mod trace;

use http::{HeaderMap, HeaderValue};

/// The value of `name` as text; empty where it is absent or no text.
pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// A header value of `text`, which is empty where `text` cannot be one.
pub(crate) fn value(text: impl Into<bytes::Bytes>) -> HeaderValue {
    HeaderValue::from_maybe_shared(text.into()).unwrap_or_else(|_| HeaderValue::from_static(""))
}
