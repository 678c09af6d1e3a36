//! TCP routes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ModificationTag, null_as_default};

/// One backend of an external port. The router group, the ports, the address, the SNI host name and `enable_backend_mtls`
/// together are its key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpRoute {
    /// The router group whose routers listen.
    #[serde(deserialize_with = "null_as_default")]
    pub router_group_guid: String,
    /// The port of the backend for connections without TLS; 0: there is none.
    #[serde(deserialize_with = "null_as_default")]
    pub backend_port: u16,
    /// The port of the backend for TLS; 0 or less: there is none. [`TcpRoute::tls_port`] is its value as a port.
    #[serde(deserialize_with = "null_as_default")]
    pub backend_tls_port: i64,
    /// The address of the backend.
    #[serde(deserialize_with = "null_as_default")]
    pub backend_ip: String,
    /// The name in the client's hello by which this backend is chosen; `None`: it takes connections with any name or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_sni_hostname: Option<String>,
    /// The name that a router says to the backend instead of `backend_sni_hostname`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni_rewrite_hostname: Option<String>,
    /// The name that the certificate of a backend with TLS carries; empty: not known.
    #[serde(deserialize_with = "null_as_default")]
    pub instance_id: String,
    /// The external port, at which routers listen.
    #[serde(deserialize_with = "null_as_default")]
    pub port: u16,
    /// The version of this entry, given by the routing API.
    #[serde(deserialize_with = "null_as_default")]
    pub modification_tag: ModificationTag,
    /// Seconds until the route expires unless it is registered again; `None`: the most that the routing API allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// The isolation segment whose routers serve this route; empty: those outside of all segments.
    #[serde(deserialize_with = "null_as_default")]
    pub isolation_segment: String,
    /// Whether the router ends TLS itself.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "is_false")]
    pub terminate_frontend_tls: bool,
    /// The protocols that a router offers when it ends TLS itself, with commas between them.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "String::is_empty")]
    pub alpns: String,
    /// Whether the router shows its own certificate to the backend.
    #[serde(deserialize_with = "null_as_default", skip_serializing_if = "is_false")]
    pub enable_backend_mtls: bool,
}

impl TcpRoute {
    /// The port of the backend for TLS, if it has one.
    #[must_use]
    pub fn tls_port(&self) -> Option<u16> {
        u16::try_from(self.backend_tls_port).ok().filter(|port| *port > 0)
    }

    /// Whether both routes are one entry of the routing API.
    #[must_use]
    pub fn has_key_of(&self, other: &Self) -> bool {
        self.router_group_guid == other.router_group_guid
            && self.port == other.port
            && self.backend_ip == other.backend_ip
            && self.backend_port == other.backend_port
            && self.backend_tls_port == other.backend_tls_port
            && self.backend_sni_hostname == other.backend_sni_hostname
            && self.enable_backend_mtls == other.enable_backend_mtls
    }
}

impl fmt::Display for TcpRoute {
    /// The form that the original's error messages have.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            router_group_guid,
            port,
            backend_ip,
            backend_port,
            ..
        } = self;
        write!(formatter, "{router_group_guid}:{port}<->{backend_ip}:{backend_port}")
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A TCP route is written as the original writes it: what may be left out is left out, and the rest is there.
    #[test]
    fn tcp_routes_are_as_the_originals() {
        let bare = TcpRoute {
            router_group_guid: "rg".to_owned(),
            backend_port: 60_000,
            backend_ip: "1.2.3.4".to_owned(),
            port: 1024,
            ..TcpRoute::default()
        };
        let json = r#"{"router_group_guid":"rg","backend_port":60000,"backend_tls_port":0,"backend_ip":"1.2.3.4","instance_id":"","port":1024,"modification_tag":{"guid":"","index":0},"isolation_segment":""}"#;
        assert_eq!(serde_json::to_string(&bare).unwrap(), json);
        assert_eq!(serde_json::from_str::<TcpRoute>(json).unwrap(), bare);
        assert_eq!(bare.to_string(), "rg:1024<->1.2.3.4:60000");
        let full = TcpRoute {
            backend_tls_port: 61_443,
            backend_sni_hostname: Some(String::new()),
            sni_rewrite_hostname: Some("b".to_owned()),
            instance_id: "i".to_owned(),
            ttl: Some(60),
            isolation_segment: "s".to_owned(),
            terminate_frontend_tls: true,
            alpns: "h2,http/1.1".to_owned(),
            enable_backend_mtls: true,
            ..bare.clone()
        };
        let json = r#"{"router_group_guid":"rg","backend_port":60000,"backend_tls_port":61443,"backend_ip":"1.2.3.4","backend_sni_hostname":"","sni_rewrite_hostname":"b","instance_id":"i","port":1024,"modification_tag":{"guid":"","index":0},"ttl":60,"isolation_segment":"s","terminate_frontend_tls":true,"alpns":"h2,http/1.1","enable_backend_mtls":true}"#;
        assert_eq!(serde_json::to_string(&full).unwrap(), json);
        assert_eq!(serde_json::from_str::<TcpRoute>(json).unwrap(), full);
        assert!(!bare.has_key_of(&full) && full.has_key_of(&full.clone()));
    }

    /// A TLS port counts when it can be one.
    #[test]
    fn tls_ports_are_ports() {
        let port = |backend_tls_port| {
            let route = TcpRoute {
                backend_tls_port,
                ..TcpRoute::default()
            };
            route.tls_port()
        };
        assert_eq!([-1, 0, 65_536].map(port), [None; 3]);
        assert_eq!(port(443), Some(443));
    }
}
