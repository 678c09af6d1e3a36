//! `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Request-Start`.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderMap, HeaderValue};

use super::names::{X_FORWARDED_FOR, X_FORWARDED_PROTO, X_REQUEST_START};
use crate::settings::ForwardedProto;

/// Appends the client's address to those of the proxies before.
pub(crate) fn append_client(headers: &mut HeaderMap, client: IpAddr) {
    let mut line = BytesMut::with_capacity(48);
    for before in headers.get_all(&X_FORWARDED_FOR) {
        line.put_slice(before.as_bytes());
        line.put_slice(b", ");
    }
    // Writing to memory does not fail.
    write!(line, "{client}").ok();
    headers.insert(X_FORWARDED_FOR.clone(), super::value(line.freeze()));
}

/// Says how the client came, unless a proxy in front is trusted to have said it.
pub(crate) fn set_proto(headers: &mut HeaderMap, tls: bool, rule: ForwardedProto) {
    let scheme = match rule {
        ForwardedProto::ForceHttps => "https",
        ForwardedProto::Keep if headers.get(&X_FORWARDED_PROTO).is_some_and(|said| !said.is_empty()) => return,
        ForwardedProto::Keep | ForwardedProto::Sanitize => match tls {
            true => "https",
            false => "http",
        },
    };
    headers.insert(X_FORWARDED_PROTO.clone(), HeaderValue::from_static(scheme));
}

/// Says when the request came, unless a proxy in front did.
pub(crate) fn set_start(headers: &mut HeaderMap, now_nanos: i64) {
    if !headers.contains_key(&X_REQUEST_START) {
        headers.insert(X_REQUEST_START.clone(), HeaderValue::from(now_nanos / 1_000_000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Proxies before this one stay in front, in one line.
    #[test]
    fn the_client_is_last() {
        let mut headers = HeaderMap::new();
        append_client(&mut headers, IpAddr::from([192, 0, 2, 1]));
        assert_eq!(headers[&X_FORWARDED_FOR], "192.0.2.1");
        headers.append(X_FORWARDED_FOR.clone(), HeaderValue::from_static("10.0.0.1"));
        append_client(&mut headers, IpAddr::from([192, 0, 2, 2]));
        assert_eq!(headers.get_all(&X_FORWARDED_FOR).iter().count(), 1);
        assert_eq!(headers[&X_FORWARDED_FOR], "192.0.2.1, 10.0.0.1, 192.0.2.2");
    }

    /// The three rules, for a client that lies and one that says nothing.
    #[test]
    fn the_scheme_follows_the_rule() {
        let said = |rule, before: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(before) = before {
                headers.insert(X_FORWARDED_PROTO.clone(), HeaderValue::from_static(before));
            }
            set_proto(&mut headers, false, rule);
            headers[&X_FORWARDED_PROTO].to_str().expect("text").to_owned()
        };
        assert_eq!(said(ForwardedProto::Keep, None), "http");
        assert_eq!(said(ForwardedProto::Keep, Some("https")), "https");
        assert_eq!(said(ForwardedProto::Sanitize, Some("https")), "http");
        assert_eq!(said(ForwardedProto::ForceHttps, Some("http")), "https");
    }
}
