//! Parses the URL of a drain, and shows it without its secrets.
//!
//! User info and query leave this crate as text only towards the drain itself. The safe form also hides path segments
//! that look like tokens, because many collectors have a token in the path of their URL.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use thiserror::Error;
use url::{Host, Url};

use crate::Parameters;
use crate::parameters::Kinds;
use crate::source_types::{SourceTypeSet, SourceTypes};

/// The protocol of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Octet-counted messages over TCP.
    Syslog,
    /// Octet-counted messages over TLS.
    SyslogTls,
    /// One HTTPS POST for each message.
    Https,
    /// One HTTPS POST for many messages, each of which ends with a newline.
    HttpsBatch,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 4] = [Self::Syslog, Self::SyslogTls, Self::Https, Self::HttpsBatch];

    /// The name of the scheme in URLs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syslog => "syslog",
            Self::SyslogTls => "syslog-tls",
            Self::Https => "https",
            Self::HttpsBatch => "https-batch",
        }
    }

    /// Whether each message has its length in front (octet counting, RFC 6587).
    #[must_use]
    pub const fn is_octet_counted(self) -> bool {
        matches!(self, Self::Syslog | Self::SyslogTls)
    }

    /// Whether the drain answers each shipment.
    #[must_use]
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Https | Self::HttpsBatch)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The reason why a text is not the URL of a drain.
///
/// The texts are fixed by the contract, because developers read them in their app's log. They show the URL in its safe
/// form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// The text is not a URL.
    #[error("Cannot parse syslog drain URL.")]
    Unparsable,
    /// The scheme is unknown.
    #[error("Invalid Scheme {scheme} for syslog drain url {url}")]
    Scheme {
        /// The unknown scheme.
        scheme: String,
        /// The safe form of the drain's URL.
        url: String,
    },
    /// The URL has no host.
    #[error("No hostname found in syslog drain url {url}")]
    NoHost {
        /// The safe form of the drain's URL.
        url: String,
    },
    /// The URL has no port, and its scheme has no default port.
    #[error("No port found in syslog drain url {url}")]
    NoPort {
        /// The safe form of the drain's URL.
        url: String,
    },
    /// The URL has both filters by source type, which exclude each other.
    #[error(
        "include-log-source-types and exclude-log-source-types cannot be used at the same time in syslog drain url {url}"
    )]
    BothFilters {
        /// The safe form of the drain's URL.
        url: String,
    },
    /// A filter names an unknown source type.
    #[error("Unknown source types '{types}' in source type filter in syslog drain url {url}")]
    UnknownSourceTypes {
        /// The unknown names.
        types: String,
        /// The safe form of the drain's URL.
        url: String,
    },
}

impl UrlError {
    /// The safe form of the drain's URL; empty if it could not be parsed.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::Unparsable => "",
            Self::Scheme { url, .. }
            | Self::NoHost { url }
            | Self::NoPort { url }
            | Self::BothFilters { url }
            | Self::UnknownSourceTypes { url, .. } => url,
        }
    }
}

/// The URL of a drain. It is cheap to clone, and `Display` and `Debug` show only its safe form.
#[derive(Clone)]
pub struct DrainUrl {
    inner: Arc<Inner>,
}

struct Inner {
    /// The URL as it was given.
    text: String,
    scheme: Scheme,
    host: Host<String>,
    port: u16,
    /// Path and query, as they stand in a request line.
    target: String,
    query: Option<String>,
    /// User name and password, decoded.
    user: Option<(String, String)>,
    parameters: Parameters,
    safe: String,
}

impl DrainUrl {
    /// Parses a drain's URL. White space around it is ignored.
    ///
    /// # Errors
    /// If the text is not the URL of a drain.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
        // A control character could end a header of the request or a line of a log.
        if text.chars().any(char::is_control) {
            return Err(UrlError::Unparsable);
        }
        let (scheme, rest) = text.split_once(':').ok_or(UrlError::Unparsable)?;
        let Some(scheme) = Scheme::ALL
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
        else {
            let url = Url::parse(text).map_err(|_| UrlError::Unparsable)?;
            return Err(UrlError::Scheme {
                scheme: url.scheme().to_owned(),
                url: safe(url.scheme(), &url),
            });
        };
        // The URL standard has special rules for `https` (backslashes, hosts without slashes). Another scheme name
        // makes the parser treat all schemes of drains alike.
        let neutral = match scheme {
            Scheme::Https => "https-batch",
            other => other.as_str(),
        };
        let url = match Url::parse(&format!("{neutral}:{rest}")) {
            Ok(url) => url,
            Err(url::ParseError::EmptyHost) => return Err(no_host(scheme)),
            Err(_) => return Err(UrlError::Unparsable),
        };
        let safe = safe(scheme.as_str(), &url);
        let host = match url.host_str() {
            None | Some("") => return Err(UrlError::NoHost { url: safe }),
            // A final dot marks a fully qualified name. Certificates have the name without it.
            Some(host) => Host::parse(host.trim_end_matches('.')).map_err(|_| UrlError::Unparsable)?,
        };
        // Syslog has no default port here, as in the original.
        let default = scheme.is_http().then_some(443);
        let Some(port) = url.port().or(default).filter(|port| *port != 0) else {
            return Err(UrlError::NoPort { url: safe });
        };
        let parameters = parameters(&url, &safe)?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = (!url.username().is_empty() || url.password().is_some())
            .then(|| (decoded(url.username()), decoded(url.password().unwrap_or_default())));
        let path = if url.path().starts_with('/') { url.path() } else { "/" };
        let target = match url.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        Ok(Self {
            inner: Arc::new(Inner {
                text: text.to_owned(),
                scheme,
                host,
                port,
                target,
                query: url.query().map(str::to_owned),
                user,
                parameters,
                safe,
            }),
        })
    }

    /// The protocol of the drain.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.inner.scheme
    }

    /// The host of the drain: a name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.inner.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    /// The port of the drain.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.inner.port
    }

    /// Host and port as `HOST:PORT`, by which drains at one server are recognised.
    #[must_use]
    pub fn host_and_port(&self) -> String {
        format!("{}:{}", self.inner.host, self.inner.port)
    }

    /// The parameters of the URL's query.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.inner.parameters
    }

    /// The safe form of the URL: without user info, query and fragment, and with `…` in place of tokens in its path. It
    /// is the only form that is ever shown.
    #[must_use]
    pub fn safe(&self) -> &str {
        &self.inner.safe
    }

    /// The URL as it was given, with its secrets. It may be sent in a feed of bindings, and must never be logged.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.inner.text
    }

    pub(crate) fn address(&self) -> &Host<String> {
        &self.inner.host
    }

    pub(crate) fn target(&self) -> &str {
        &self.inner.target
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.inner.query.as_deref()
    }

    pub(crate) fn user(&self) -> Option<(&str, &str)> {
        self.inner
            .user
            .as_ref()
            .map(|(name, password)| (name.as_str(), password.as_str()))
    }
}

impl PartialEq for DrainUrl {
    fn eq(&self, other: &Self) -> bool {
        self.inner.text == other.inner.text
    }
}

impl Eq for DrainUrl {}

impl Hash for DrainUrl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.text.hash(state);
    }
}

impl fmt::Display for DrainUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.safe())
    }
}

impl fmt::Debug for DrainUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DrainUrl({})", self.safe())
    }
}

/// Returns the error for a URL with an empty host. The parser stops there, so only the scheme is known to be safe.
fn no_host(scheme: Scheme) -> UrlError {
    UrlError::NoHost {
        url: format!("{scheme}://"),
    }
}

/// Reads the parameters of a URL's query (contract "URL query parameters"). `drain-data` overrides `drain-type`, as in
/// the original.
fn parameters(url: &Url, safe: &str) -> Result<Parameters, UrlError> {
    let get = |name: &str| -> String {
        // The first of repeated parameters counts, as in Go.
        let found = url.query_pairs().find(|(key, _)| key == name);
        found.map(|(_, value)| value.into_owned()).unwrap_or_default()
    };
    let mut kinds = match get("drain-type").as_str() {
        "logs" => Kinds::LOGS_WITHOUT_EVENTS,
        "metrics" => Kinds::METRICS,
        "all" => Kinds::LOGS_AND_METRICS,
        _ => Kinds::LOGS,
    };
    match get("drain-data").as_str() {
        "logs" => kinds = Kinds::LOGS,
        "metrics" => kinds = Kinds::METRICS,
        "traces" => kinds = Kinds::TRACES,
        "all" => kinds = Kinds::ALL,
        _ => {}
    }
    // Any value counts, also `false`, as in the original.
    if !get("include-metrics-deprecated").is_empty() {
        kinds = Kinds::ALL;
    }
    let without = match get("disable-metadata") {
        empty if empty.is_empty() => get("omit-metadata"),
        value => value,
    };
    let metadata = match without.as_str() {
        "true" => Some(false),
        "false" => Some(true),
        _ => None,
    };
    let known = |list: &str| {
        SourceTypeSet::parse(list).map_err(|unknown| UrlError::UnknownSourceTypes {
            types: shown_names(&unknown),
            url: safe.to_owned(),
        })
    };
    let source_types = match (get("include-log-source-types"), get("exclude-log-source-types")) {
        (include, exclude) if include.is_empty() && exclude.is_empty() => SourceTypes::All,
        (include, exclude) if exclude.is_empty() => SourceTypes::Only(known(&include)?),
        (include, exclude) if include.is_empty() => SourceTypes::Except(known(&exclude)?),
        _ => return Err(UrlError::BothFilters { url: safe.to_owned() }),
    };
    Ok(Parameters {
        kinds,
        metadata,
        strict_internal: get("ssl-strict-internal") == "true",
        source_types,
    })
}

/// Returns names from a query for a text: at most eight, each of at most 16 printable characters.
fn shown_names(names: &[String]) -> String {
    let short = |name: &String| -> String {
        let printable = name.chars().filter(|character| character.is_ascii_graphic());
        printable.take(16).collect()
    };
    names.iter().take(8).map(short).collect::<Vec<_>>().join(", ")
}

/// Returns the safe form of a URL: `scheme://host:port/path`, with `…` in place of tokens.
fn safe(scheme: &str, url: &Url) -> String {
    // Without `//` the parser finds no user info, so the rest may have secrets.
    if url.cannot_be_a_base() {
        return format!("{scheme}:…");
    }
    let mut text = format!("{scheme}://{}", url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        text.push_str(&format!(":{port}"));
    }
    for segment in url.path().split('/').skip(1) {
        text.push('/');
        text.push_str(if is_token(segment) { "…" } else { segment });
    }
    text
}

/// Whether a path segment looks like a secret: it is long and mixes letters and digits, or it has an `@`, as user info
/// has whose `/` was not escaped.
pub(crate) fn is_token(segment: &str) -> bool {
    if segment.contains('@') {
        return true;
    }
    let letters = segment.bytes().filter(u8::is_ascii_alphabetic).count();
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    segment.len() >= 16 && letters > 0 && digits > 2
}

#[cfg(test)]
mod tests;
