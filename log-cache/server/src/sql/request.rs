//! Reads a request: a JSON body, or the query as text with parameters in the query string.

use std::time::Duration;

use http::{HeaderMap, header};
use serde::Deserialize;
use weir_error::Classify;
use weir_log_cache_query::{Cells, Format, Layout, UnknownFormat};

/// A request, from either form.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) query: String,
    pub(super) format: Format,
    pub(super) timeout: Option<Duration>,
    pub(super) max_rows: Option<usize>,
    pub(super) follow: bool,
    pub(super) layout: Layout,
}

/// The JSON form of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    query: String,
    format: Option<String>,
    timeout: Option<String>,
    max_rows: Option<usize>,
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    wide: bool,
    width: Option<usize>,
}

/// The error of a malformed request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Invalid {
    fn new(message: impl Into<String>, hint: &str) -> Self {
        Self {
            message: message.into(),
            hint: Some(hint.to_owned()),
        }
    }
}

impl From<UnknownFormat> for Invalid {
    fn from(error: UnknownFormat) -> Self {
        Self {
            message: error.to_string(),
            hint: error.hint(),
        }
    }
}

impl Request {
    /// Reads a request. The body takes precedence over the query string, and both over `Accept`.
    pub(super) fn read(headers: &HeaderMap, parameters: &str, body: &[u8]) -> Result<Self, Invalid> {
        let header = |name| {
            headers
                .get(name)
                .and_then(|value: &header::HeaderValue| value.to_str().ok())
        };
        let is_json = header(header::CONTENT_TYPE).is_some_and(|kind| media_type(kind) == "application/json");
        let mut request = Self::default();
        let (mut format, mut wide) = (None, false);
        for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
            match &*name {
                "format" => format = Some(value.parse()?),
                "timeout" => request.timeout = Some(timeout(&value)?),
                "max_rows" => request.max_rows = Some(number("max_rows", &value)?),
                "follow" => request.follow = flag("follow", &value)?,
                "wide" => wide = flag("wide", &value)?,
                "width" => request.layout.width = Some(number("width", &value)?),
                _ => {
                    let hint = "there are format, timeout, max_rows, follow, wide and width";
                    return Err(Invalid::new(format!("parameter `{name}` is not known"), hint));
                }
            }
        }
        if is_json {
            let body: Body = serde_json::from_slice(body).map_err(|error| {
                Invalid::new(
                    format!("the body is not readable: {error}"),
                    "send {\"query\": \"select …\"}",
                )
            })?;
            request.query = body.query;
            request.follow |= body.follow;
            wide |= body.wide;
            request.max_rows = body.max_rows.or(request.max_rows);
            request.layout.width = body.width.or(request.layout.width);
            if let Some(text) = &body.timeout {
                request.timeout = Some(timeout(text)?);
            }
            if let Some(name) = &body.format {
                format = Some(name.parse()?);
            }
        } else {
            let text = std::str::from_utf8(body);
            let hint = "send it as text/plain, or in {\"query\": …} as application/json";
            text.map_err(|_| Invalid::new("the query is not UTF-8", hint))?
                .clone_into(&mut request.query);
        }
        let accepted = || header(header::ACCEPT).and_then(Format::from_accept);
        request.format = format.or_else(accepted).unwrap_or_default();
        request.layout.cells = if wide { Cells::Whole } else { Cells::Cut };
        Ok(request)
    }
}

fn media_type(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn timeout(text: &str) -> Result<Duration, Invalid> {
    let parsed = text.parse::<weir_config::Duration>().map(weir_config::Duration::get);
    parsed.map_err(|_| {
        Invalid::new(
            format!("timeout `{text}` is not a time"),
            "write it as `500ms`, `10s` or `2m`",
        )
    })
}

fn number(name: &str, text: &str) -> Result<usize, Invalid> {
    text.parse().map_err(|_| {
        let hint = format!("write it as `{name}=100`");
        Invalid::new(format!("{name} `{text}` is not a number"), &hint)
    })
}

fn flag(name: &str, text: &str) -> Result<bool, Invalid> {
    match text {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Invalid::new(
            format!("{name} `{text}` is neither true nor false"),
            &format!("write `{name}=true`"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), header::HeaderValue::from_static(value)))
            .collect()
    }

    /// Both forms of a request are read, with the precedence of their parameters.
    #[test]
    fn requests_are_read() {
        let json = headers(&[
            (header::CONTENT_TYPE, "application/json; charset=utf-8"),
            (header::ACCEPT, "text/csv"),
        ]);
        let body = br#"{"query":"select 1","timeout":"1500ms","max_rows":7,"format":"arrow"}"#;
        let expected = Request {
            query: "select 1".to_owned(),
            format: Format::Arrow,
            timeout: Some(Duration::from_millis(1500)),
            max_rows: Some(7),
            follow: false,
            layout: Layout::default(),
        };
        assert_eq!(Request::read(&json, "max_rows=9&format=json", body), Ok(expected));
        let text = headers(&[(header::ACCEPT, "application/x-ndjson, */*")]);
        let read = Request::read(&text, "follow=true&timeout=2s", b"select 2").expect("a request");
        assert_eq!(
            (read.query.as_str(), read.format, read.follow),
            ("select 2", Format::Ndjson, true)
        );
        assert_eq!(read.timeout, Some(Duration::from_secs(2)));
        let wide = Request::read(&HeaderMap::new(), "wide=true&width=120", b"select 2").expect("a request");
        assert_eq!((wide.layout.cells, wide.layout.width), (Cells::Whole, Some(120)));
        assert_eq!(read.layout, Layout::default());
        assert_eq!(
            Request::read(&HeaderMap::new(), "", b"select 3")
                .expect("a request")
                .format,
            Format::Table
        );
    }

    /// A malformed request is refused with a hint.
    #[test]
    fn malformed_requests_are_refused() {
        let json = headers(&[(header::CONTENT_TYPE, "application/json")]);
        for body in [
            "{",
            "[]",
            "{}",
            r#"{"query":7}"#,
            r#"{"query":"x","fromat":"csv"}"#,
            r#"{"query":"x","timeout":"eternity"}"#,
            r#"{"query":"x","format":"exe"}"#,
            r#"{"query":"x","max_rows":-1}"#,
        ] {
            let invalid = Request::read(&json, "", body.as_bytes()).expect_err(body);
            assert!(invalid.hint.is_some(), "{body}: {invalid:?}");
        }
        for parameters in [
            "format=exe",
            "timeout=soon",
            "max_rows=all",
            "follow=perhaps",
            "wide=very",
            "width=far",
            "fromat=csv",
        ] {
            assert!(
                Request::read(&HeaderMap::new(), parameters, b"select 1").is_err(),
                "{parameters}"
            );
        }
        assert!(Request::read(&HeaderMap::new(), "", b"\xff\xff").is_err());
    }
}
