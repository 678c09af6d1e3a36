//! Checks whose page opens a stream with a cookie (RFC 6455 §10.2).
//!
//! The original ignores `Origin`. A token in the header was put there by the author of the client, so the origin does
//! not matter in this case either (noaa sends one). But a browser sends a cookie with every request, so a page of
//! another site could open and read a stream with it.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, Uri};

/// Returns whether a cookie may be used. This is the case without an `Origin` (then it is not a browser), for a page of
/// the system domain, or, if no system domain is configured, for a page of the requested host.
pub(super) fn is_ours(headers: &HeaderMap, system_domain: &str) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return true;
    };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    // `null` and an invalid origin do not identify a page.
    let Some(host) = origin.as_ref().filter(|uri| uri.scheme().is_some()).and_then(Uri::host) else {
        return false;
    };
    if origins.next().is_some() {
        return false;
    }
    if system_domain.is_empty() {
        let asked = headers.get(HOST).and_then(|host| host.to_str().ok());
        let asked = asked.and_then(|host| host.parse::<http::uri::Authority>().ok());
        return asked.is_some_and(|asked| asked.host().eq_ignore_ascii_case(host));
    }
    let (host, domain) = (host.to_ascii_lowercase(), system_domain.to_ascii_lowercase());
    host == domain || host.strip_suffix(&domain).is_some_and(|name| name.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn ours(origins: &[&'static str], domain: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("doppler.sys.example:443"));
        for origin in origins {
            headers.append(ORIGIN, HeaderValue::from_static(origin));
        }
        is_ours(&headers, domain)
    }

    /// Pages of the system domain and requests without a page are accepted. Domains that only look similar are not.
    #[test]
    fn pages_of_other_sites_do_not_count() {
        for origin in [
            "https://console.sys.example",
            "https://sys.example",
            "http://Console.SYS.example:8080",
        ] {
            assert!(ours(&[origin], "sys.example"), "{origin}");
        }
        assert!(ours(&[], "sys.example") && ours(&[], ""));
        for origin in [
            "https://evil.example",
            "https://evilsys.example",
            "https://sys.example.evil.test",
            "https://sys.example@evil.test",
            "null",
            "",
            "sys.example",
            "file:///sys.example",
        ] {
            assert!(!ours(&[origin], "sys.example"), "{origin}");
        }
        assert!(!ours(&["https://sys.example", "https://evil.test"], "sys.example"));
        assert!(ours(&["https://doppler.sys.example"], ""));
        assert!(!ours(&["https://console.sys.example"], ""));
    }
}
