//! Events that a component reports to its consumers, and not to the log of its operator.

use std::sync::{Arc, OnceLock};

use weir_service::clock;

use crate::identity::{Identity, METRIC_VERSION};
use crate::outbox::Outbox;

static INSTALLED: OnceLock<(Arc<Outbox>, String)> = OnceLock::new();

/// Sets the outbox for events. Only the first call has an effect.
pub(crate) fn install(outbox: &Arc<Outbox>, instance_id: String) {
    INSTALLED.get_or_init(|| (Arc::clone(outbox), instance_id));
}

/// Emits a v2 event in the name of `component`, as the original's components do. Never waits. Does nothing before
/// [`crate::init()`].
pub fn event(component: &str, title: &str, body: &str) {
    if let Some((outbox, instance_id)) = INSTALLED.get() {
        put(outbox, instance_id, component, title, body);
    }
}

fn put(outbox: &Outbox, instance_id: &str, component: &str, title: &str, body: &str) {
    let identity = Identity::of(component);
    outbox.put(|writer| {
        writer
            .timestamp(clock::now_nanos())
            .source_id(identity.metrics_source)
            .instance_id(instance_id)
            .tag("origin", &identity.origin())
            .tag("component", identity.component)
            .tag("metric_version", METRIC_VERSION)
            .event(title, body);
    });
}

#[cfg(test)]
mod tests {
    use weir_envelope::view::Message;
    use weir_flow::{Capacity, Ledger};

    use super::*;

    /// An event has the source id and tags of the component's metrics.
    #[tokio::test]
    async fn an_event_carries_its_component() {
        let capacity = Capacity {
            envelopes: 10,
            bytes: 10_000,
        };
        let outbox = Outbox::new(capacity, Ledger::in_memory("telemetry"), "0");
        put(&outbox, "0", "traffic-controller", "title", "body");
        let shipment = outbox.drain(10).await.unwrap();
        let envelope = shipment.batch().iter().next().unwrap();
        assert_eq!(envelope.source_id(), "traffic_controller");
        assert!(matches!(
            envelope.view().message(),
            Message::Event {
                title: "title",
                body: "body"
            }
        ));
        assert_eq!(
            envelope.view().tag("origin").as_deref(),
            Some("loggregator.trafficcontroller")
        );
        shipment.delivered();
    }
}
