//! The names of routes: how those of registrations and those of requests are brought into one form.

use std::borrow::Cow;

use crate::registration::InvalidRegistration;

/// The longest host of a route, in bytes: what DNS allows.
pub(super) const MAX_HOST: usize = 255;
/// The longest path of a route, in bytes.
pub(super) const MAX_PATH: usize = 4096;

/// The name of a route in the form in which names are compared: in lower case, without a query, and without a slash at its
/// beginning or its end.
#[derive(Debug)]
pub(super) struct RouteName<'r>(Cow<'r, str>);

/// The parts of a [`RouteName`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route<'r> {
    /// Host and path.
    pub(super) name: &'r str,
    pub(super) host: Host<'r>,
    /// With a slash at its beginning and none at its end; empty for the whole host.
    pub(super) path: &'r str,
}

/// A host, in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Host<'r> {
    /// Without the `*.` of a wildcard.
    pub(super) name: &'r str,
    pub(super) is_wildcard: bool,
}

impl RouteName<'_> {
    /// Host and path.
    pub(super) fn route(&self) -> Route<'_> {
        Route::split(&self.0)
    }
}

impl<'r> Route<'r> {
    /// Host and path of what is in the form of a [`RouteName`].
    pub(super) fn split(name: &'r str) -> Self {
        let (host, path) = name.split_at(name.find('/').unwrap_or(name.len()));
        Self {
            name,
            host: Host::of_route(host),
            path,
        }
    }
}

impl<'r> RouteName<'r> {
    /// The name that a registration gives.
    pub(super) fn new(route: &'r str) -> Result<Self, InvalidRegistration> {
        let route = route.split('?').next().unwrap_or_default();
        let route = route.strip_prefix('/').unwrap_or(route);
        let route = route.strip_suffix('/').unwrap_or(route);
        let host = route.find('/').unwrap_or(route.len());
        if host == 0 || &route[..host] == "*." {
            Err(InvalidRegistration::NoHost)
        } else if host > MAX_HOST {
            Err(InvalidRegistration::HostTooLong)
        } else if route.len() - host > MAX_PATH {
            Err(InvalidRegistration::PathTooLong)
        } else if route.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Ok(Self(Cow::Owned(route.to_ascii_lowercase())))
        } else {
            Ok(Self(Cow::Borrowed(route)))
        }
    }
}

impl<'r> Host<'r> {
    fn of_route(host: &'r str) -> Self {
        match host.strip_prefix("*.") {
            Some(name) => Self {
                name,
                is_wildcard: true,
            },
            None => Self::exact(host),
        }
    }

    /// The host of a request itself.
    pub(super) const fn exact(name: &'r str) -> Self {
        Self {
            name,
            is_wildcard: false,
        }
    }

    /// The wildcards that the host of a request belongs to, the longest first.
    pub(super) fn wildcards(mut host: &'r str) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            host = host.split_once('.')?.1;
            Some(Self {
                name: host,
                is_wildcard: true,
            })
        })
    }
}

/// A host of a request in lower case, in `buffer` if it is not so already; `None` if no route has so long a host.
pub(super) fn lower_case<'h>(host: &'h str, buffer: &'h mut [u8; MAX_HOST]) -> Option<&'h str> {
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return (host.len() <= MAX_HOST).then_some(host);
    }
    let lower = buffer.get_mut(..host.len())?;
    lower.copy_from_slice(host.as_bytes());
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).ok()
}

/// The path of a request without its query and without a slash at its end; `None` if it is none, as in `OPTIONS *`.
pub(super) fn request_path(path: &str) -> Option<&str> {
    let path = path.split('?').next().unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    (path.is_empty() || path.starts_with('/')).then_some(path)
}
