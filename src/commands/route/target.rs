//! A route as it is named on the command line.

use weir_config::{Duration, PeerAddr};
use weir_error::ErrorKind;
use weir_platform_route_registrar::route::{Defaults, RawHealthCheck, RawRoute, Route};

use crate::failure::Failure;

/// How often a route is registered, and its program asked.
const INTERVAL: Duration = Duration::from_secs(5);

/// The router group of TCP routes, which every routing API has.
pub(super) const ROUTER_GROUP: &str = "default-tcp";

/// The whole name of an HTTP route: one without a dot is below the stack's domain.
pub(super) fn full_name(name: &str, domain: &str) -> String {
    let (host, path) = name.find('/').map_or((name, ""), |slash| name.split_at(slash));
    let host = host.to_ascii_lowercase();
    match host.contains('.') {
        true => format!("{host}{path}"),
        false => format!("{host}.{domain}{path}"),
    }
}

/// The route of a program at `target`, as the registrar reads it.
pub(super) fn route(
    name: &str,
    domain: &str,
    target: &str,
    health: Option<&str>,
    tcp: Option<u16>,
) -> Result<RawRoute, Failure> {
    let address: PeerAddr = target.parse().map_err(|_| {
        invalid(format!("target `{target}`: is no address of a program"))
            .with_hint("give host and port: 127.0.0.1:8080")
    })?;
    // A router is not asked to resolve what every machine calls by this name.
    let host = if address.host() == "localhost" {
        "127.0.0.1"
    } else {
        address.host()
    };
    let full = full_name(name, domain);
    if tcp.is_none() && !is_name(&full) {
        return Err(invalid(format!("name `{name}`: is no name of a route")).with_hint(
            "give one label (`hello`), a whole name (`hello.example.com`), and a path behind it if it is to be for that path \
             only",
        ));
    }
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_graphic()) {
        return Err(invalid(format!(
            "name `{name}`: has blanks or other characters that names do not have"
        )));
    }
    let raw = RawRoute {
        r#type: tcp.map_or_else(String::new, |_| "tcp".to_owned()),
        name: if tcp.is_some() { name.to_owned() } else { full.clone() },
        host: host.to_owned(),
        port: Some(address.port()),
        uris: if tcp.is_some() { Vec::new() } else { vec![full] },
        router_group: tcp.map_or_else(String::new, |_| ROUTER_GROUP.to_owned()),
        external_port: tcp,
        registration_interval: Some(INTERVAL),
        app_id: name.to_owned(),
        health_check: health.map(|path| RawHealthCheck {
            path: path.to_owned(),
            ..RawHealthCheck::default()
        }),
        ..RawRoute::default()
    };
    match Route::new(&raw, &Defaults::default()) {
        Ok(_) => Ok(raw),
        Err(problems) => {
            let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Err(invalid(format!("route `{name}`: {}", texts.join("; "))))
        }
    }
}

/// Whether a text is the name of a route: labels, the first of which may be `*`, and perhaps a path.
fn is_name(text: &str) -> bool {
    let (host, path) = text.find('/').map_or((text, ""), |slash| text.split_at(slash));
    let host = host.strip_prefix("*.").unwrap_or(host);
    let is_label = |label: &str| {
        let plain = label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        plain && !label.is_empty() && label.len() < 64
    };
    let is_path = path
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    host.len() < 254 && host.split('.').all(is_label) && is_path
}

fn invalid(text: String) -> Failure {
    Failure::new(ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Result<RawRoute, Failure> {
        route(name, "weir.localhost", "localhost:8080", None, None)
    }

    /// A name without a dot is below the domain, and the requests are told in the stream of the name as it was given.
    #[test]
    fn names_are_completed() {
        let uri = |name: &str| named(name).expect("a name").uris.remove(0);
        assert_eq!(uri("hello"), "hello.weir.localhost");
        assert_eq!(uri("Hello/v2"), "hello.weir.localhost/v2");
        assert_eq!(uri("api.example.com"), "api.example.com");
        assert_eq!(uri("*.example.com"), "*.example.com");
        let route = named("hello").expect("a name");
        assert_eq!((route.app_id.as_str(), route.host.as_str()), ("hello", "127.0.0.1"));
        for wrong in ["", "a b", "a..b", "https://a.b", "a.b:80", "a?b", "ä"] {
            assert!(named(wrong).is_err(), "{wrong}");
        }
    }

    /// A TCP route has a port of the router, and keeps its name.
    #[test]
    fn a_tcp_route_has_a_port() {
        let raw = route("db", "weir.localhost", "127.0.0.1:5432", None, Some(1024)).expect("a route");
        assert_eq!(
            (raw.r#type.as_str(), raw.name.as_str(), raw.external_port),
            ("tcp", "db", Some(1024))
        );
        assert!(raw.uris.is_empty());
        assert!(route("db", "weir.localhost", "127.0.0.1:5432", None, Some(0)).is_err());
    }

    /// What is wrong with the target or the path is said.
    #[test]
    fn mistakes_are_explained() {
        let said = |target: &str, health: Option<&str>| {
            let failure = route("a", "b.c", target, health, None).expect_err("wrong");
            failure.to_string()
        };
        assert!(
            said("8080", None).contains("hint: give host and port"),
            "{}",
            said("8080", None)
        );
        let said = said("127.0.0.1:1", Some("health"));
        assert!(
            said.contains("`health_check.path`") && said.contains("begins with `/`"),
            "{said}"
        );
    }
}
