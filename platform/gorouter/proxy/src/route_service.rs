//! Route services (contract compute-routing §13.5): requests of a route pass a service first, which sends them on to the route.
//!
//! On its way to the service a request gets a signature, which only routers with the same secret can make or read. A request that
//! comes back with it goes to the application. The signature says for which URL and when it was made, so that it cannot be used
//! for another route or for long.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use weir_platform_gorouter_table::{Pool, Registry};

use crate::headers::names::{X_CF_FORWARDED_URL, X_CF_PROXY_METADATA, X_CF_PROXY_SIGNATURE};
use crate::headers::{text, value};
use crate::lookup;
use crate::refusal::Refusal;

mod signature;

use signature::Invalid;
pub(crate) use signature::Key;

/// How route services are used.
#[derive(Debug)]
pub(crate) struct RouteServices {
    /// Signs, and reads. `None`: there is no support for route services.
    pub(crate) key: Option<Key>,
    /// Reads what was signed before the secret was changed.
    pub(crate) previous: Option<Key>,
    /// How long a request may be on its way through a service.
    pub(crate) timeout: Duration,
    /// Whether services are told to send requests on by HTTPS.
    pub(crate) https: bool,
    /// Whether a signature is checked also where a route has no service.
    pub(crate) strict: bool,
    /// How often a request is tried at a service.
    pub(crate) attempts: u32,
    /// Whether services that are routes of this router are reached without leaving it.
    pub(crate) hairpin: bool,
    /// The hosts of such services, `*.` in front for all below; empty: all.
    pub(crate) hairpin_hosts: Vec<String>,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Way {
    /// To the application.
    Application,
    /// To its service.
    Service(Uri),
}

impl RouteServices {
    /// Whether a request with these headers comes from a service.
    pub(crate) fn is_from_service(&self, headers: &HeaderMap, now_nanos: i64) -> bool {
        !text(headers, &X_CF_FORWARDED_URL).is_empty()
            && headers.contains_key(&X_CF_PROXY_SIGNATURE)
            && self.check(headers, now_nanos).is_ok()
    }

    /// The way of a request to `pool`. A request to a service is signed, one that came from it loses its signature.
    pub(crate) fn way(&self, registry: &Registry, pool: &Pool, request: &mut Request<'_>) -> Result<Way, Refusal> {
        let options = pool.options();
        let service = options
            .as_ref()
            .and_then(|options| options.route_service_url.as_deref());
        let is_signed = !text(request.headers, &X_CF_PROXY_SIGNATURE).is_empty();
        let Some(service) = service else {
            if self.strict && request.headers.contains_key(&X_CF_PROXY_SIGNATURE) {
                self.check(request.headers, request.now_nanos)
                    .map_err(|invalid| match invalid {
                        Invalid::Expired => Refusal::ExpiredSignature,
                        Invalid::Unreadable(_) => Refusal::InvalidSignature {
                            status: StatusCode::BAD_REQUEST,
                            reason: "invalid route service signature detected".to_owned(),
                        },
                    })?;
            }
            return Ok(Way::Application);
        };
        let Some(key) = &self.key else {
            return Err(Refusal::RouteServicesDisabled);
        };
        if request.upgrades {
            return Err(Refusal::RouteServiceUpgrade);
        }
        if is_signed {
            let url = self.check(request.headers, request.now_nanos).map_err(of_service)?;
            is_for(registry, pool, &url)?;
            for name in [&X_CF_PROXY_SIGNATURE, &X_CF_PROXY_METADATA, &X_CF_FORWARDED_URL] {
                request.headers.remove(name);
            }
            return Ok(Way::Application);
        }
        let service: Uri = service.parse().map_err(|_| Refusal::RouteServiceFailed)?;
        let scheme = if self.https { "https" } else { "http" };
        let host = lookup::without_port(request.host);
        let url = format!("{scheme}://{host}{}", request.target);
        let (signature, metadata) = key.sign(&url, request.now_nanos).ok_or(Refusal::RouteServiceFailed)?;
        let headers = &mut request.headers;
        headers.insert(X_CF_PROXY_SIGNATURE.clone(), value(signature));
        headers.insert(X_CF_PROXY_METADATA.clone(), value(metadata));
        headers.insert(
            X_CF_FORWARDED_URL.clone(),
            HeaderValue::try_from(url).map_err(|_| Refusal::RouteServiceFailed)?,
        );
        Ok(Way::Service(service))
    }

    /// Whether the service at `url` is a route of this router that may be reached without leaving it.
    pub(crate) fn is_internal(&self, registry: &Registry, url: &Uri) -> bool {
        let host = url.host().unwrap_or_default();
        if !self.hairpin {
            return false;
        }
        let Some(pool) = registry.lookup(host, url.path()) else {
            return false;
        };
        let fits = |allowed: &String| match allowed.strip_prefix("*.") {
            None => pool.host().eq_ignore_ascii_case(allowed),
            Some(domain) => pool
                .host()
                .split_once('.')
                .is_some_and(|(_, above)| above.eq_ignore_ascii_case(domain)),
        };
        self.hairpin_hosts.is_empty() || self.hairpin_hosts.iter().any(fits)
    }

    /// The URL that a signature was made for.
    fn check(&self, headers: &HeaderMap, now_nanos: i64) -> Result<String, Invalid> {
        let none = || Invalid::Unreadable("route services are disabled".to_owned());
        let key = self.key.as_ref().ok_or_else(none)?;
        let (signature, metadata) = (
            text(headers, &X_CF_PROXY_SIGNATURE),
            text(headers, &X_CF_PROXY_METADATA),
        );
        let read = match (key.read(signature, metadata), &self.previous) {
            (Err(_), Some(previous)) => previous.read(signature, metadata)?,
            (read, _) => read?,
        };
        let age = now_nanos.saturating_sub(read.requested_nanos);
        let timeout = i64::try_from(self.timeout.as_nanos()).unwrap_or(i64::MAX);
        match age > timeout {
            true => Err(Invalid::Expired),
            false => Ok(read.url),
        }
    }
}

/// What the way of a request depends on.
#[derive(Debug)]
pub(crate) struct Request<'r> {
    /// Its headers.
    pub(crate) headers: &'r mut HeaderMap,
    /// The host that it is for.
    pub(crate) host: &'r str,
    /// Path and query.
    pub(crate) target: &'r str,
    /// Whether it wants to change the protocol.
    pub(crate) upgrades: bool,
    /// The time, in nanoseconds since 1970.
    pub(crate) now_nanos: i64,
}

/// The refusal of a request that a service has sent on.
fn of_service(invalid: Invalid) -> Refusal {
    match invalid {
        Invalid::Expired => Refusal::ExpiredSignature,
        Invalid::Unreadable(reason) => Refusal::InvalidSignature {
            status: StatusCode::BAD_GATEWAY,
            reason: format!("Failed to validate Route Service Signature: {reason}"),
        },
    }
}

/// Refuses a signature that was made for another route.
fn is_for(registry: &Registry, pool: &Pool, url: &str) -> Result<(), Refusal> {
    let uri: Option<Uri> = url.parse().ok();
    let signed = uri.as_ref().and_then(|uri| registry.lookup(uri.host()?, uri.path()));
    match signed {
        Some(signed) if signed.route() == pool.route() => Ok(()),
        Some(_) => Err(of_service(Invalid::Unreadable(format!(
            "route service forwarded URL {} does not match the original request URL {url}",
            pool.route()
        )))),
        None => Err(of_service(Invalid::Unreadable(format!(
            "original request URL {url} does not exist in the routing table"
        )))),
    }
}
