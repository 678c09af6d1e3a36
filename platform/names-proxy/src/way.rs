//! Decides where a host and a port lead.

use std::net::IpAddr;

use http::StatusCode;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::RawConfig;

/// How long it may take to connect.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(10);

/// A refusal: its status, and one line for the person who reads it.
pub(crate) type Refusal = (StatusCode, String);

/// The host and the port that a caller names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted<'r> {
    pub(crate) host: &'r str,
    pub(crate) port: u16,
}

/// The address that a request leads to: a host or an IP address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    host: String,
    port: u16,
}

/// Where `wanted` leads for a caller at `peer`.
pub(crate) fn way(config: &RawConfig, wanted: &Wanted<'_>, peer: IpAddr) -> Result<Address, Refusal> {
    let host = wanted.host.trim_end_matches('.').to_ascii_lowercase();
    if !is_below(&host, &config.domain) {
        // Everybody on this machine can connect to anything without the proxy. For others it would be a way around
        // whatever keeps them out.
        return match peer.to_canonical().is_loopback() {
            true => Ok(Address {
                host: wanted.host.trim_matches(['[', ']']).to_owned(),
                port: wanted.port,
            }),
            false => Err((
                StatusCode::FORBIDDEN,
                format!(
                    "host `{host}` is not below `{}`, and you are not on this machine",
                    config.domain
                ),
            )),
        };
    }
    let (http, https) = (&config.router_http, &config.router_https);
    let router = match wanted.port {
        443 => https,
        80 => http,
        // A name may also be given with the router's own port, as it is without the proxy.
        port if port == https.port() => https,
        port if port == http.port() => http,
        port => {
            let text = format!("name `{host}` has no port {port} here: the router serves 443 (HTTPS) and 80 (HTTP)");
            return Err((StatusCode::FORBIDDEN, text));
        }
    };
    Ok(Address {
        host: router.host().to_owned(),
        port: router.port(),
    })
}

fn is_below(host: &str, domain: &str) -> bool {
    let label = host.strip_suffix(domain);
    label.is_some_and(|label| label.is_empty() || label.ends_with('.'))
}

impl Address {
    /// Connects to the address.
    pub(crate) async fn connect(&self) -> Result<TcpStream, Refusal> {
        let Self { host, port } = self;
        let failed = |reason: String| (StatusCode::BAD_GATEWAY, format!("`{host}:{port}`: {reason}"));
        match timeout(CONNECT, TcpStream::connect((host.as_str(), *port))).await {
            Ok(Ok(stream)) => {
                // Fails only when the connection has ended already, which the first read says.
                stream.set_nodelay(true).ok();
                Ok(stream)
            }
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("no connection within 10 s".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RawConfig {
        RawConfig {
            domain: "weir.localhost".to_owned(),
            router_http: "127.0.0.1:8080".parse().unwrap(),
            router_https: "127.0.0.1:8443".parse().unwrap(),
            ..RawConfig::default()
        }
    }

    fn found(host: &str, port: u16, peer: &str) -> Result<String, StatusCode> {
        let way = way(&config(), &Wanted { host, port }, peer.parse().unwrap());
        way.map(|Address { host, port }| format!("{host}:{port}"))
            .map_err(|(status, _)| status)
    }

    /// Names below the domain lead to the router, in any form, from anywhere, and on its ports only.
    #[test]
    fn names_lead_to_the_router() {
        let (http, https) = (Ok("127.0.0.1:8080".to_owned()), Ok("127.0.0.1:8443".to_owned()));
        for host in [
            "uaa.weir.localhost",
            "UAA.Weir.Localhost.",
            "weir.localhost",
            "a.b.weir.localhost",
        ] {
            for peer in ["127.0.0.1", "10.0.0.1"] {
                assert_eq!(found(host, 443, peer), https, "{host}");
                assert_eq!(found(host, 8443, peer), https, "{host}");
                assert_eq!(found(host, 80, peer), http, "{host}");
                assert_eq!(found(host, 8080, peer), http, "{host}");
                assert_eq!(found(host, 22, peer), Err(StatusCode::FORBIDDEN), "{host}");
            }
        }
    }

    /// Other hosts are for callers on this machine.
    #[test]
    fn other_hosts_are_for_this_machine() {
        for (host, address) in [
            ("example.com", "example.com:22"),
            ("notweir.localhost", "notweir.localhost:22"),
            ("weir.localhost.example.com", "weir.localhost.example.com:22"),
            ("[::1]", "::1:22"),
        ] {
            for peer in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
                assert_eq!(found(host, 22, peer), Ok(address.to_owned()));
            }
            for peer in ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1"] {
                assert_eq!(found(host, 22, peer), Err(StatusCode::FORBIDDEN));
            }
        }
    }
}
