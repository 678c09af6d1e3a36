//! Registers TCP routes at the routing API.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use weir_routing_api_client::models::TcpRoute as Entry;
use weir_routing_api_client::{ClientError, RoutingApi, RoutingApiSettings};

use crate::route::{Route, TcpRoute};

/// How many intervals an entry lasts in tenths: one registration may be missed. It is the original's number.
const INTERVALS: u32 = 21;

/// The way to the routing API.
#[derive(Debug)]
pub(crate) struct TcpAnnouncer {
    api: RoutingApi,
    max_ttl: Duration,
    /// The guid of each router group by its name. A guid never changes.
    groups: Mutex<HashMap<String, String>>,
}

impl TcpAnnouncer {
    /// An announcer that connects when it is used.
    pub(crate) fn new(settings: &RoutingApiSettings, max_ttl: Duration) -> Result<Self, ClientError> {
        Ok(Self {
            api: RoutingApi::new(settings)?,
            max_ttl,
            groups: Mutex::default(),
        })
    }

    pub(super) async fn register(&self, route: &Route, tcp: &TcpRoute) -> Result<(), String> {
        let entry = self.entry(route, tcp).await?;
        let registered = self.api.upsert_tcp_routes(&[entry]).await;
        registered.map_err(|error| weir_error::chain(&error))
    }

    pub(super) async fn unregister(&self, route: &Route, tcp: &TcpRoute) -> Result<(), String> {
        let entry = self.entry(route, tcp).await?;
        let unregistered = self.api.delete_tcp_routes(&[entry]).await;
        unregistered.map_err(|error| weir_error::chain(&error))
    }

    async fn entry(&self, route: &Route, tcp: &TcpRoute) -> Result<Entry, String> {
        let guid = self.group(&tcp.router_group).await?;
        Ok(entry(route, tcp, guid, self.max_ttl))
    }

    async fn group(&self, name: &str) -> Result<String, String> {
        if let Some(guid) = self.groups.lock().get(name) {
            return Ok(guid.clone());
        }
        let found = self.api.router_group(name).await;
        let group = found.map_err(|error| weir_error::chain(&error))?;
        let guid = group
            .ok_or_else(|| format!("router group `{name}` does not exist"))?
            .guid;
        self.groups.lock().insert(name.to_owned(), guid.clone());
        Ok(guid)
    }
}

/// The entry of the routing API for a route.
fn entry(route: &Route, tcp: &TcpRoute, router_group_guid: String, max_ttl: Duration) -> Entry {
    let ttl = (route.interval * INTERVALS / 10).min(max_ttl).as_secs().max(1);
    Entry {
        router_group_guid,
        port: tcp.external_port,
        backend_ip: route.host.clone(),
        backend_port: tcp.port,
        backend_tls_port: -1,
        backend_sni_hostname: tcp.sni_hostname.clone(),
        ttl: i64::try_from(ttl).ok(),
        ..Entry::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::route::{Defaults, Kind, RawRoute};

    /// An entry lasts for a little more than two intervals, for a second at least, and not longer than allowed.
    #[test]
    fn an_entry_outlives_its_interval() {
        let entry = |interval: &str| {
            let raw: RawRoute = serde_json::from_value(json!({
                "type": "sni", "host": "10.0.0.7", "sni_port": 2, "sni_routable_san": "n", "router_group": "default-tcp",
                "external_port": 1024, "registration_interval": interval,
            }))
            .unwrap();
            let route = Route::new(&raw, &Defaults::default()).unwrap();
            let Kind::Tcp(tcp) = &route.kind else {
                panic!("a TCP route");
            };
            entry(&route, tcp, "guid".to_owned(), Duration::from_secs(120))
        };
        let ttl = |interval: &str| entry(interval).ttl.unwrap();
        assert_eq!([ttl("20s"), ttl("10ms"), ttl("10m")], [42, 1, 120]);
        assert_eq!(
            serde_json::to_value(entry("20s")).unwrap(),
            json!({"router_group_guid": "guid", "port": 1024, "backend_ip": "10.0.0.7", "backend_port": 2, "backend_tls_port": -1,
                "backend_sni_hostname": "n", "instance_id": "", "isolation_segment": "", "ttl": 42,
                "modification_tag": {"guid": "", "index": 0}})
        );
    }
}
