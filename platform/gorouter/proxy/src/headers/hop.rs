//! Headers that are for the next hop only, which a proxy does not pass on (RFC 9110, section 7.6.1).

use http::header::{CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::names::{KEEP_ALIVE, PROXY_CONNECTION};

/// The protocol that a request or an answer wants to change to, if it says so in `Connection` too.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<&HeaderValue> {
    let wanted = headers.get(UPGRADE)?;
    let said = headers.get_all(CONNECTION).iter();
    let said = said.filter_map(|value| value.to_str().ok());
    said.flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("upgrade"))
        .then_some(wanted)
}

/// Removes what is for the next hop only, with what `Connection` names except for the names in `kept`; a wish to `upgrade` stays
/// where the caller passes it on.
pub(crate) fn strip(headers: &mut HeaderMap, upgrade: Option<HeaderValue>, kept: &[HeaderName]) {
    let trailers = headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim().eq_ignore_ascii_case("trailers"));
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|token| token.trim().parse().ok())
            .filter(|name| !kept.contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(CONNECTION);
    }
    for name in [
        &PROXY_CONNECTION,
        &KEEP_ALIVE,
        &PROXY_AUTHENTICATE,
        &PROXY_AUTHORIZATION,
        &TE,
        &TRANSFER_ENCODING,
        &UPGRADE,
    ] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(protocol) = upgrade {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let fields = fields.iter();
        fields
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().expect("a name"),
                    value.parse().expect("a value"),
                )
            })
            .collect()
    }

    /// What `Connection` names goes, except for what the operator keeps.
    #[test]
    fn named_headers_go() {
        let mut headers = map(&[
            ("connection", "close, X-One, x-two"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
        ]);
        strip(&mut headers, None, &[HeaderName::from_static("x-two")]);
        assert_eq!(headers, map(&[("x-two", "2"), ("x-three", "3")]));
    }

    /// An upgrade stays where it is passed on, and `TE` says nothing but `trailers`.
    #[test]
    fn upgrades_and_trailers_stay() {
        let fields = [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("te", "gzip, trailers"),
        ];
        let mut headers = map(&fields);
        let wanted = upgrade(&headers).cloned();
        assert_eq!(
            wanted.as_ref().map(HeaderValue::as_bytes),
            Some(b"websocket".as_slice())
        );
        strip(&mut headers, wanted, &[]);
        assert_eq!(
            headers,
            map(&[("connection", "Upgrade"), ("upgrade", "websocket"), ("te", "trailers")])
        );
        assert_eq!(upgrade(&map(&[("upgrade", "websocket")])), None);
    }
}
