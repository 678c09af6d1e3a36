//! Sends registrations to the routers: those of HTTP routes over NATS, those of TCP routes to the routing API.

mod tcp;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;
use weir_nats_client::{NatsClient, RegistryMessage, RouteOptions, subjects};

use crate::route::{HttpRoute, Kind, Route};

pub(crate) use tcp::TcpAnnouncer;

/// How long sending one message may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Registers and unregisters routes.
#[async_trait]
pub(crate) trait Announce: fmt::Debug + Send + Sync + 'static {
    /// Registers a route until its time to live is over.
    ///
    /// # Errors
    /// Why the registration could not be sent, in one line.
    async fn register(&self, route: &Route) -> Result<(), String>;

    /// Unregisters a route.
    ///
    /// # Errors
    /// Why the message could not be sent, in one line.
    async fn unregister(&self, route: &Route) -> Result<(), String>;
}

/// The way to the routers.
#[derive(Debug)]
pub(crate) struct Announcer {
    nats: Option<NatsClient>,
    tcp: Option<TcpAnnouncer>,
    availability_zone: String,
    /// Sticky sessions find an instance by this id. As in the original, a process has one for all of its routes.
    instance_id: String,
}

impl Announcer {
    /// An announcer with a new instance id.
    pub(crate) fn new(nats: Option<NatsClient>, tcp: Option<TcpAnnouncer>, availability_zone: &str) -> Self {
        Self {
            nats,
            tcp,
            availability_zone: availability_zone.to_owned(),
            instance_id: Uuid::new_v4().to_string(),
        }
    }

    fn tcp(&self) -> Result<&TcpAnnouncer, String> {
        self.tcp
            .as_ref()
            .ok_or_else(|| "`routing_api` is not configured".to_owned())
    }

    async fn publish(&self, subject: &str, route: &Route, http: &HttpRoute) -> Result<(), String> {
        let nats = self.nats.as_ref().ok_or("`nats` is not configured")?;
        let message = message(route, http, &self.availability_zone, &self.instance_id);
        let sent = async {
            nats.publish_json(subject, &message).await?;
            nats.flush().await
        };
        sent.await.map_err(|error| weir_error::chain(&error))
    }
}

#[async_trait]
impl Announce for Announcer {
    async fn register(&self, route: &Route) -> Result<(), String> {
        in_time(async {
            match &route.kind {
                Kind::Http(http) => self.publish(subjects::REGISTER, route, http).await,
                Kind::Tcp(tcp) => self.tcp()?.register(route, tcp).await,
            }
        })
        .await
    }

    async fn unregister(&self, route: &Route) -> Result<(), String> {
        in_time(async {
            match &route.kind {
                Kind::Http(http) => self.publish(subjects::UNREGISTER, route, http).await,
                Kind::Tcp(tcp) => self.tcp()?.unregister(route, tcp).await,
            }
        })
        .await
    }
}

async fn in_time(sending: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let late = |_| Err("no answer within 10 s".to_owned());
    tokio::time::timeout(DEADLINE, sending).await.unwrap_or_else(late)
}

/// The message of an HTTP route.
fn message(route: &Route, http: &HttpRoute, availability_zone: &str, instance_id: &str) -> RegistryMessage {
    RegistryMessage {
        uris: http.uris.clone(),
        host: route.host.clone(),
        port: http.port.unwrap_or_default(),
        tls_port: http.tls_port.unwrap_or_default(),
        protocol: http.protocol.clone(),
        app: route.app_id.clone(),
        tags: route.tags.clone(),
        private_instance_id: instance_id.to_owned(),
        route_service_url: http.route_service_url.clone(),
        server_cert_domain_san: http.server_cert_domain_san.clone(),
        availability_zone: availability_zone.to_owned(),
        options: RouteOptions {
            loadbalancing: http.options.loadbalancing.clone(),
            hash_header: http.options.hash_header.clone(),
            hash_balance: http.options.balance().unwrap_or_default(),
            ..RouteOptions::default()
        },
        ..RegistryMessage::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Defaults, RawRoute};

    /// The message has the original's fields, and an instance id that stays.
    #[test]
    fn a_message_has_the_fields_of_the_original() {
        let raw: RawRoute = serde_json::from_value(serde_json::json!({
            "name": "api", "tls_port": 9024, "uris": ["api.example.com"], "tags": {"component": "api"},
            "registration_interval": "10s", "server_cert_domain_san": "api.internal", "protocol": "http2",
            "options": {"loadbalancing": "least-connection"},
        }))
        .unwrap();
        let defaults = Defaults {
            host: "10.0.0.7".to_owned(),
        };
        let route = Route::new(&raw, &defaults).unwrap();
        let Kind::Http(http) = &route.kind else {
            panic!("an HTTP route");
        };
        let message = message(&route, http, "z1", "id");
        assert_eq!(
            serde_json::to_value(message).unwrap(),
            serde_json::json!({
                "uris": ["api.example.com"], "host": "10.0.0.7", "tls_port": 9024, "protocol": "http2",
                "tags": {"component": "api"}, "private_instance_id": "id", "server_cert_domain_san": "api.internal",
                "availability_zone": "z1", "options": {"loadbalancing": "least-connection"},
            })
        );
    }
}
