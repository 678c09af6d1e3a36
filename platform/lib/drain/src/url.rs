//! The URL of a drain: read once, shown without its secrets.
//!
//! User info and query never leave this crate as text but to the drain itself. Path segments that look like tokens (many
//! collectors put theirs there) are cut in the safe form, too.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use thiserror::Error;
use url::{Host, Url};

use crate::Parameters;
use crate::parameters::Kinds;
use crate::source_types::{SourceTypeSet, SourceTypes};

/// How a drain is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Octet counted messages over TCP.
    Syslog,
    /// The same over TLS.
    SyslogTls,
    /// A POST for each message.
    Https,
    /// A POST for many messages, each ending in a newline.
    HttpsBatch,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Self; 4] = [Self::Syslog, Self::SyslogTls, Self::Https, Self::HttpsBatch];

    /// As URLs have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syslog => "syslog",
            Self::SyslogTls => "syslog-tls",
            Self::Https => "https",
            Self::HttpsBatch => "https-batch",
        }
    }

    /// Whether messages carry their length in front (RFC 6587 octet counting).
    #[must_use]
    pub const fn is_octet_counted(self) -> bool {
        matches!(self, Self::Syslog | Self::SyslogTls)
    }

    /// Whether each shipment is answered by the drain.
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

/// A URL that is none of a drain. The texts are the contract's; the URL in them is the safe form.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum UrlError {
    /// No URL at all.
    #[error("Cannot parse syslog drain URL.")]
    Unparsable,
    /// Not one of the schemes.
    #[error("Invalid Scheme {scheme} for syslog drain url {url}")]
    Scheme {
        /// The scheme.
        scheme: String,
        /// The drain.
        url: String,
    },
    /// No host.
    #[error("No hostname found in syslog drain url {url}")]
    NoHost {
        /// The drain.
        url: String,
    },
    /// No port, where there is no default.
    #[error("No port found in syslog drain url {url}")]
    NoPort {
        /// The drain.
        url: String,
    },
    /// Two filters that contradict each other.
    #[error(
        "include-log-source-types and exclude-log-source-types cannot be used at the same time in syslog drain url {url}"
    )]
    BothFilters {
        /// The drain.
        url: String,
    },
    /// A filter by something that is no source type.
    #[error("Unknown source types '{types}' in source type filter in syslog drain url {url}")]
    UnknownSourceTypes {
        /// The names.
        types: String,
        /// The drain.
        url: String,
    },
}

impl UrlError {
    /// The drain, as it may be shown; empty if not even that is known.
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

/// A drain's URL. Cheap to clone; shown only in its safe form.
#[derive(Clone)]
pub struct DrainUrl {
    inner: Arc<Inner>,
}

struct Inner {
    text: String,
    scheme: Scheme,
    host: Host<String>,
    port: u16,
    /// Path and query, for the request line.
    target: String,
    query: Option<String>,
    user: Option<(String, String)>,
    parameters: Parameters,
    safe: String,
}

impl DrainUrl {
    /// Reads a drain's URL. White space around it does not matter.
    ///
    /// # Errors
    /// With the contract's texts.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim();
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
        // `https` has rules of its own in URLs (backslashes, hosts without slashes); all schemes of drains have the same here.
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
            Some(host) => Host::parse(host.trim_end_matches('.')).map_err(|_| UrlError::Unparsable)?,
        };
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

    /// How the drain is spoken to.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.inner.scheme
    }

    /// The drain's host: a name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> String {
        match &self.inner.host {
            Host::Domain(name) => name.clone(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        }
    }

    /// The drain's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.inner.port
    }

    /// Host and port, `HOST:PORT`: drains with the same are at the same place.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.inner.host, self.inner.port)
    }

    /// What the query asks for.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.inner.parameters
    }

    /// The URL without user info, query and fragment, and with tokens in its path cut: the only form ever shown.
    #[must_use]
    pub fn safe(&self) -> &str {
        &self.inner.safe
    }

    /// The URL as it was given, secrets and all: for the binding's place in a feed, never for a log.
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

/// The parser stops at an empty host before a port or user info: all that is safe is the scheme.
fn no_host(scheme: Scheme) -> UrlError {
    UrlError::NoHost {
        url: format!("{scheme}://"),
    }
}

fn parameters(url: &Url, safe: &str) -> Result<Parameters, UrlError> {
    let get = |name: &str| -> String {
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

/// Names out of a query, for a text: short, printable, few.
fn shown_names(names: &[String]) -> String {
    let short = |name: &String| -> String {
        let printable = name.chars().filter(|character| character.is_ascii_graphic());
        printable.take(16).collect()
    };
    names.iter().take(8).map(short).collect::<Vec<_>>().join(", ")
}

/// `scheme://host:port/path`.
fn safe(scheme: &str, url: &Url) -> String {
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

/// Whether a path segment looks like a secret: long, of letters and digits mixed; or like user info behind a `/` that should
/// have been escaped.
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
