//! Answers that the router itself gives (contract compute-routing §13.4).

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::backend::Failure;
use crate::headers::names::X_CF_ROUTER_ERROR;

/// Caches keep nothing.
const NO_STORE: &str = "no-cache, no-store";

/// Caches keep the answer for the two seconds in which nothing changes anyway.
const SHORTLY: &str = "public,max-age=2";

/// Health checks are asked anew each time.
const PRIVATE: &str = "private, max-age=0";

/// Why the router answers itself.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// No route has this host and path.
    UnknownRoute {
        /// The host as the client wrote it.
        host: String,
    },
    /// The route has no such instance.
    UnknownInstance {
        /// Which one, and of what.
        which: String,
        /// The host as the client wrote it.
        host: String,
    },
    /// The route has no backend.
    NoEndpoints {
        /// The host as the client wrote it.
        host: String,
    },
    /// All backends of the route have as many requests as they may have.
    Overloaded {
        /// The host as the client wrote it.
        host: String,
    },
    /// There is no host, or it is the client's own address.
    EmptyHost,
    /// The host has characters that no host has.
    MalformedHost,
    /// The header for an application instance cannot be read.
    InvalidAppInstance,
    /// The header for a process instance cannot be read.
    InvalidProcessInstance,
    /// The protocol or the method is not served.
    UnsupportedProtocol,
    /// The head of the request is too large.
    HeadTooLarge,
    /// The backends failed.
    Endpoint(Failure),
    /// The route needs a route service, and there is no support for them.
    RouteServicesDisabled,
    /// A route with a route service takes no WebSockets.
    RouteServiceUpgrade,
    /// The proof of a route service is too old.
    ExpiredSignature,
    /// The proof of a route service is not the router's.
    InvalidSignature {
        /// The status: 400 where a client made it up, 502 where a route service did.
        status: StatusCode,
        /// What is wrong with it.
        reason: String,
    },
    /// The request to a route service cannot be made.
    RouteServiceFailed,
    /// The router is asked for its health, and may be sent requests.
    Healthy,
    /// The router is asked for its health, and starts or drains.
    Unhealthy,
}

/// A refusal as it is answered.
#[derive(Debug)]
pub(crate) struct Written {
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: Bytes,
    /// What `X-Cf-RouterError` says; empty if it is not there.
    pub(crate) error: Cow<'static, str>,
}

impl Refusal {
    /// The status, what `X-Cf-RouterError` says, how long caches keep the answer, and the message.
    fn parts(&self) -> (u16, Cow<'static, str>, Option<&'static str>, Cow<'static, str>) {
        match self {
            Self::UnknownRoute { host } => (
                404,
                "unknown_route".into(),
                Some(NO_STORE),
                format!("Requested route ('{host}') does not exist.").into(),
            ),
            Self::UnknownInstance { which, host } => (
                400,
                "unknown_route".into(),
                Some(NO_STORE),
                format!("Requested instance {which} does not exist for route ('{host}')").into(),
            ),
            Self::NoEndpoints { host } => (
                503,
                "no_endpoints".into(),
                Some(SHORTLY),
                format!("Requested route ('{host}') has no available endpoints.").into(),
            ),
            Self::Overloaded { host } => (
                503,
                "Connection Limit Reached".into(),
                None,
                format!("Requested route ('{host}') has reached the connection limit.").into(),
            ),
            Self::EmptyHost => (
                400,
                "empty_host".into(),
                Some(SHORTLY),
                "Request had empty Host header".into(),
            ),
            Self::MalformedHost => (400, "".into(), None, "malformed Host header".into()),
            Self::InvalidAppInstance => (
                400,
                "invalid_cf_app_instance_header".into(),
                Some(NO_STORE),
                "Invalid X-CF-App-Instance Header".into(),
            ),
            Self::InvalidProcessInstance => (
                400,
                "invalid_cf_process_instance_header".into(),
                Some(NO_STORE),
                "Invalid X-CF-Process-Instance Header".into(),
            ),
            Self::UnsupportedProtocol => (400, "".into(), None, "Unsupported protocol".into()),
            Self::HeadTooLarge => (431, "max-request-size-exceeded".into(), None, "".into()),
            Self::Endpoint(failure) => (
                failure.answer().0,
                format!("endpoint_failure ({failure})").into(),
                None,
                failure.answer().1.into(),
            ),
            Self::RouteServicesDisabled => (
                502,
                "route_service_unsupported".into(),
                None,
                "Support for route services is disabled.".into(),
            ),
            Self::RouteServiceUpgrade => (
                503,
                "route_service_unsupported".into(),
                None,
                "Websocket requests are not supported for routes bound to Route Services.".into(),
            ),
            Self::ExpiredSignature => (
                504,
                "expired_route_service_signature".into(),
                None,
                "Failed to validate Route Service Signature: route service request expired".into(),
            ),
            Self::InvalidSignature { status, reason } => (
                status.as_u16(),
                "invalid_route_service_signature".into(),
                None,
                reason.clone().into(),
            ),
            Self::RouteServiceFailed => (500, "".into(), None, "Route service request failed.".into()),
            Self::Healthy => (200, "".into(), Some(PRIVATE), "ok".into()),
            Self::Unhealthy => (503, "".into(), Some(PRIVATE), "".into()),
        }
    }

    /// Whether the message is the whole body, and not only what follows the status.
    const fn is_complete(&self) -> bool {
        matches!(self, Self::Endpoint(_) | Self::Healthy)
    }

    /// The answer.
    pub(crate) fn write(&self) -> Written {
        let (status, error, cache, message) = self.parts();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut headers = HeaderMap::with_capacity(8);
        if !error.is_empty() {
            headers.insert(X_CF_ROUTER_ERROR.clone(), crate::headers::value(printable(&error)));
        }
        if let Some(cache) = cache {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
        }
        if matches!(self, Self::Healthy | Self::Unhealthy) {
            headers.insert(EXPIRES, HeaderValue::from_static("0"));
        }
        let body = match (message.as_ref(), status.canonical_reason()) {
            ("", _) => String::new(),
            (message, _) if self.is_complete() => format!("{message}\n"),
            (message, Some(reason)) => format!("{} {reason}: {message}\n", status.as_u16()),
            (message, None) => format!("{}: {message}\n", status.as_u16()),
        };
        if !body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        Written {
            status,
            headers,
            body: body.into(),
            error,
        }
    }
}

/// `text` without what a header's value cannot have.
fn printable(text: &str) -> String {
    let kept = |character: char| if character.is_control() { ' ' } else { character };
    text.chars().map(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Status, text and header as clients and operators know them.
    #[test]
    fn answers_are_the_originals() {
        let host = || "a.example".to_owned();
        let told = |refusal: Refusal| {
            let written = refusal.write();
            let error = written
                .headers
                .get(&X_CF_ROUTER_ERROR)
                .map(|value| value.to_str().expect("text").to_owned());
            let body = String::from_utf8(written.body.to_vec()).expect("text");
            (written.status.as_u16(), error.unwrap_or_default(), body)
        };
        let of = |status, error: &str, body: &str| (status, error.to_owned(), body.to_owned());
        assert_eq!(
            told(Refusal::UnknownRoute { host: host() }),
            of(
                404,
                "unknown_route",
                "404 Not Found: Requested route ('a.example') does not exist.\n"
            )
        );
        assert_eq!(
            told(Refusal::NoEndpoints { host: host() }),
            of(
                503,
                "no_endpoints",
                "503 Service Unavailable: Requested route ('a.example') has no available endpoints.\n"
            )
        );
        assert_eq!(
            told(Refusal::Endpoint(Failure::Ended)),
            of(
                502,
                "endpoint_failure (EOF)",
                "502 Bad Gateway: Registered endpoint failed to handle the request.\n"
            )
        );
        assert_eq!(
            told(Refusal::Endpoint(Failure::NotTls)).2,
            "525 SSL Handshake Failed\n".to_owned()
        );
        assert_eq!(told(Refusal::HeadTooLarge), of(431, "max-request-size-exceeded", ""));
        assert_eq!(told(Refusal::Healthy), of(200, "", "ok\n"));
    }
}
