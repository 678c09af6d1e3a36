//! The route of a request, and the instance that the request names.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use weir_platform_gorouter_table::{Instance, Pool, Registry};

use crate::headers::names::{X_CF_APP_INSTANCE, X_CF_PROCESS_INSTANCE};
use crate::headers::text;
use crate::refusal::Refusal;

/// The length of a GUID.
const GUID: usize = 36;

/// The host that a request is for, as its client wrote it.
pub(crate) fn host(head: &Parts) -> &str {
    match head.uri.authority() {
        Some(authority) => authority.as_str(),
        None => text(&head.headers, &HOST),
    }
}

/// `host` without its port.
pub(crate) fn without_port(host: &str) -> &str {
    host.split_once(':').map_or(host, |(host, _)| host)
}

/// Whether every byte may stand in a host (RFC 3986).
fn is_host(host: &str) -> bool {
    host.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"!$%&'()*+,-.:;=[]_~".contains(&byte))
}

/// The pool of the request's route.
pub(crate) fn pool(registry: &Registry, client: IpAddr, head: &Parts) -> Result<Arc<Pool>, Refusal> {
    let whole = host(head);
    let host = without_port(whole);
    if !is_host(whole) {
        return Err(Refusal::MalformedHost);
    }
    // A load balancer may write its own address into a request of HTTP/1.0 without a host.
    if host.is_empty() || host.parse() == Ok(client) {
        return Err(Refusal::EmptyHost);
    }
    let named = named(&head.headers)?;
    let unknown = || match &named {
        Some(named) => named.unknown(whole),
        None => Refusal::UnknownRoute { host: whole.to_owned() },
    };
    registry.lookup(host, head.uri.path()).ok_or_else(unknown)
}

/// An instance that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Of the application or of the process.
    id: String,
    index: Option<String>,
    process: bool,
}

impl Named {
    /// What the table looks for.
    pub(crate) fn instance(&self) -> Instance<'_> {
        match (self.process, self.index.as_deref()) {
            (false, index) => Instance::App {
                id: &self.id,
                index: index.unwrap_or_default(),
            },
            (true, index) => Instance::Process { id: &self.id, index },
        }
    }

    /// The refusal of a request whose route does not have the instance.
    pub(crate) fn unknown(&self, host: &str) -> Refusal {
        let id = &self.id;
        let which = match (self.process, &self.index) {
            (false, index) => format!("('{}') with guid ('{id}')", index.as_deref().unwrap_or_default()),
            (true, None) => format!("with process guid ('{id}')"),
            (true, Some(index)) => format!("('{index}') with process guid ('{id}')"),
        };
        Refusal::UnknownInstance {
            which,
            host: host.to_owned(),
        }
    }
}

/// The instance that the request names, if it names one.
pub(crate) fn named(headers: &HeaderMap) -> Result<Option<Named>, Refusal> {
    let of = |(id, index): (&str, Option<&str>), process| Named {
        id: id.to_owned(),
        index: index.map(str::to_owned),
        process,
    };
    if let Some(text) = present(headers, &X_CF_APP_INSTANCE) {
        let split = split(text).filter(|(_, index)| index.is_some());
        return split
            .map(|split| Some(of(split, false)))
            .ok_or(Refusal::InvalidAppInstance);
    }
    if let Some(text) = present(headers, &X_CF_PROCESS_INSTANCE) {
        let split = split(text);
        return split
            .map(|split| Some(of(split, true)))
            .ok_or(Refusal::InvalidProcessInstance);
    }
    Ok(None)
}

fn present<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let value = headers.get(name)?;
    // What is no text is not empty either.
    Some(value.to_str().unwrap_or("?")).filter(|text| !text.is_empty())
}

/// A GUID, and the index behind it.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    let (id, rest) = text.split_at_checked(GUID)?;
    let is_guid = id.bytes().enumerate().all(|(index, byte)| match index {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    if !is_guid {
        return None;
    }
    if rest.is_empty() {
        return Some((id, None));
    }
    let index = rest.strip_prefix(':')?;
    (!index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit())).then_some((id, Some(index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0c8c36d4-fe7e-4d5b-8cb7-2a5e1a2e6f4d";

    fn named(name: &'static str, value: &str) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        let value = http::HeaderValue::from_maybe_shared(bytes::Bytes::from(value.to_owned())).expect("a value");
        headers.insert(HeaderName::from_static(name), value);
        match super::named(&headers) {
            Ok(named) => Ok(format!("{:?}", named.as_ref().map(Named::instance))),
            Err(refusal) => Err(format!("{refusal:?}")),
        }
    }

    /// What each header takes, and what it refuses.
    #[test]
    fn instances_are_named() {
        assert!(named("x-cf-app-instance", &format!("{ID}:3")).is_ok_and(|instance| instance.contains("\"3\"")));
        assert_eq!(named("x-cf-app-instance", ""), Ok("None".to_owned()));
        for wrong in [
            ID,
            "x:1",
            &format!("{ID}:"),
            &format!("{ID}:x"),
            &format!("{}:1", ID.to_uppercase()),
        ] {
            assert_eq!(
                named("x-cf-app-instance", wrong),
                Err("InvalidAppInstance".to_owned()),
                "{wrong}"
            );
        }
        assert!(named("x-cf-process-instance", ID).is_ok_and(|instance| instance.contains("index: None")));
        assert!(named("x-cf-process-instance", &format!("{ID}:0")).is_ok());
        let wrong = named("x-cf-process-instance", "ü:0");
        assert_eq!(wrong, Err("InvalidProcessInstance".to_owned()));
    }

    /// Ports and characters that no host has.
    #[test]
    fn hosts_are_hosts() {
        assert_eq!(without_port("a.example:80"), "a.example");
        assert!(is_host("a_b.example") && is_host("*.example:80") && !is_host("<a>") && !is_host("a b"));
    }
}
