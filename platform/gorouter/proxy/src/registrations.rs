//! Routes from NATS (contract compute-routing §13.2): registrations enter the table, and those that are not repeated leave it.
//!
//! NATS delivers at most once and may be away. Whatever happens to it, routes stay: without NATS nothing is pruned, and with a
//! new connection all are asked to register again.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use weir_nats_client::{ConnectionState, Message, NatsClient, RegistryMessage, RouterStart, subjects};
use weir_platform_gorouter_table::{Balancing, Protocol, Registered, Registration};
use weir_service::{Shutdown, clock};

use crate::router::Router;
use crate::telemetry::Counters;

/// How often the same complaint is logged.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// What the router does with the messages of NATS.
#[derive(Debug)]
pub(crate) struct Registrations {
    router: Arc<Router>,
    client: NatsClient,
    start: RouterStart,
    /// Whether routes stay while NATS is away.
    keep_without_nats: bool,
}

impl Registrations {
    /// Takes registrations from `client`. `register_interval` and `stale_threshold` are what backends are told.
    pub(crate) fn new(
        router: Arc<Router>,
        client: NatsClient,
        index: u32,
        register_interval: Duration,
        stale_threshold: Duration,
        keep_without_nats: bool,
    ) -> Self {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let start = RouterStart {
            id: format!("{index}-{:032x}", rand::rng().random::<u128>()),
            hosts: vec![router.settings.router.to_string()],
            minimum_register_interval_in_seconds: seconds(register_interval),
            prune_threshold_in_seconds: seconds(stale_threshold),
        };
        Self {
            router,
            client,
            start,
            keep_without_nats,
        }
    }

    /// Takes messages until `shutdown`.
    ///
    /// # Errors
    /// When NATS cannot be subscribed to.
    pub(crate) async fn follow(self, shutdown: Shutdown) -> Result<(), weir_nats_client::NatsError> {
        let mut messages = self.client.subscribe(subjects::ALL, None).await?;
        let mut state = self.client.state();
        state.mark_changed();
        loop {
            tokio::select! {
                () = shutdown.requested() => return Ok(()),
                changed = state.changed() => match changed {
                    Ok(()) => {
                        let now = *state.borrow_and_update();
                        self.connection(now).await;
                    }
                    Err(_) => return Ok(()),
                },
                message = messages.next() => match message {
                    Some(message) => self.take(&message).await,
                    None => return Ok(()),
                },
            }
        }
    }

    /// The connection is there again, or lost.
    async fn connection(&self, state: ConnectionState) {
        let connected = state.is_connected();
        self.router
            .registry
            .suspend_pruning(self.keep_without_nats && !connected);
        if connected {
            tracing::info!("connected to NATS");
            self.say_start(subjects::START).await;
        } else {
            // The client warns of a connection that was lost.
            tracing::info!("routes are not pruned while NATS is away");
        }
    }

    async fn say_start(&self, subject: &str) {
        if let Err(error) = self.client.publish_json(subject, &self.start).await {
            weir_service::limited!(warn, COMPLAIN_EVERY, %error, "router.start cannot be published");
        }
    }

    async fn take(&self, message: &Message) {
        let registers = match message.subject.as_str() {
            subjects::REGISTER => true,
            subjects::UNREGISTER => false,
            subjects::GREET => {
                if let Some(reply) = &message.reply {
                    self.say_start(reply).await;
                }
                return;
            }
            _ => return,
        };
        match RegistryMessage::read(&message.payload) {
            Ok(read) => self.register(&read, registers),
            Err(error) => {
                weir_service::limited!(warn, COMPLAIN_EVERY, %error, subject = message.subject, "validation-error");
            }
        }
    }

    fn register(&self, message: &RegistryMessage, registers: bool) {
        let component = message.tags.get("component").map(String::as_str);
        let registration = registration(message);
        let now = clock::instant();
        for uri in &message.uris {
            self.router.told.message(component, registers);
            if !registers {
                self.router.registry.unregister(uri, &registration, now);
                continue;
            }
            match self.router.registry.register(uri, &registration, now) {
                Registered::Added | Registered::Updated => self.latency(message),
                Registered::Invalid(reason) => {
                    weir_service::limited!(warn, COMPLAIN_EVERY, %reason, "route is not registered");
                }
                _ => {}
            }
        }
    }

    /// How long it took from the endpoint's change to its registration.
    fn latency(&self, message: &RegistryMessage) {
        if message.endpoint_updated_at_ns > 0 {
            let nanos = clock::now_nanos().saturating_sub(message.endpoint_updated_at_ns);
            let counters = &self.router.told.counters;
            Counters::set(&counters.route_registration_latency, nanos as f64 / 1e6);
        }
    }
}

/// The message as the table takes it.
fn registration(message: &RegistryMessage) -> Registration<'_> {
    let (port, tls) = message.endpoint_port();
    Registration {
        tls,
        protocol: match message.protocol.as_str() {
            "http2" => Protocol::Http2,
            _ => Protocol::Http1,
        },
        app_id: &message.app,
        instance_id: &message.private_instance_id,
        instance_index: &message.private_instance_index,
        server_cert_domain_san: &message.server_cert_domain_san,
        isolation_segment: &message.isolation_segment,
        availability_zone: &message.availability_zone,
        tags: &message.tags,
        stale_threshold: Duration::from_secs(u64::try_from(message.stale_threshold_in_seconds).unwrap_or(0)),
        route_service_url: &message.route_service_url,
        updated_at_ns: message.endpoint_updated_at_ns,
        balancing: Balancing::parse(&message.options.loadbalancing),
        hash_header: &message.options.hash_header,
        hash_balance: message.options.hash_balance,
        policy_scope: &message.options.route_policy_scope,
        policy_sources: &message.options.route_policy_sources,
        ..Registration::plain(&message.host, port)
    }
}

/// Takes stale routes out of the table, until `shutdown`.
pub(crate) async fn prune(router: Arc<Router>, every: Duration, shutdown: Shutdown) {
    while shutdown.unless_requested(tokio::time::sleep(every)).await.is_some() {
        let mut count = 0;
        for pruned in router.registry.prune(clock::instant()) {
            for endpoint in &pruned.endpoints {
                router.backends.forget(endpoint.id());
            }
            count += pruned.endpoints.len() as u64;
            tracing::info!(route = pruned.route, endpoints = pruned.endpoints.len(), "pruned-route");
        }
        router.told.pruned(count);
        router.told.sweep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a message says arrives in the table, the TLS port before the other one.
    #[test]
    fn messages_are_registrations() {
        let json = br#"{"uris": ["a.example"], "host": "10.0.0.1", "port": 80, "tls_port": 443, "protocol": "http2",
            "app": "app-1", "private_instance_id": "i-1", "private_instance_index": "2", "tags": {"component": "c"},
            "stale_threshold_in_seconds": 7, "server_cert_domain_san": "i-1", "route_service_url": "https://rs.example",
            "options": {"loadbalancing": "hash", "hash_header": "X-Id", "hash_balance": "1.5"}}"#;
        let message = RegistryMessage::read(json).expect("a message");
        let registration = registration(&message);
        assert_eq!(
            (registration.host, registration.port, registration.tls),
            ("10.0.0.1", 443, true)
        );
        assert_eq!(registration.protocol, Protocol::Http2);
        assert_eq!((registration.app_id, registration.instance_id), ("app-1", "i-1"));
        assert_eq!(registration.stale_threshold, Duration::from_secs(7));
        assert_eq!(registration.balancing, Some(Balancing::Hash));
        assert_eq!((registration.hash_header, registration.hash_balance), ("X-Id", 1.5));
        assert_eq!(registration.route_service_url, "https://rs.example");
        assert_eq!(registration.tags["component"], "c");
    }
}
