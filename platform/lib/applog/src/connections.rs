//! Tells of connections that a TCP router carried: a timer `tcp` for each, from its beginning to its end.

use std::time::Duration;

use weir_envelope::encode::Writer;
use weir_flow::LogContext;
use weir_net::Target;

use crate::outbox::Outbox;
use crate::record::later;
use crate::timer::decimal;

/// The source of connections, and their tag `origin`: a TCP route does not say which app it belongs to.
const ROUTER: &str = "tcp-router";

/// One connection. Texts that are empty are not told.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionRecord<'r> {
    /// When it was accepted, in nanoseconds since 1970.
    pub started: i64,
    /// How long it lasted.
    pub took: Duration,
    /// The external port.
    pub port: u16,
    /// The route as the metrics name it.
    pub route: &'r str,
    /// The address of the client.
    pub remote_address: &'r str,
    /// The address of the backend that took it.
    pub backend: &'r str,
    /// Which instance that backend is.
    pub instance_id: &'r str,
    /// How long it took to connect to that backend.
    pub connect: Option<Duration>,
    /// Backends that were asked before and did not answer.
    pub failed_attempts: u32,
    /// Bytes from the client.
    pub received_bytes: u64,
    /// Bytes to the client.
    pub sent_bytes: u64,
    /// Why it was not carried, or not to its end.
    pub error: &'r str,
}

/// Tells of connections. Threads that record at the same time do not wait for each other.
#[derive(Debug)]
pub struct Connections {
    /// The instance id of the timers.
    index: String,
    outbox: Outbox<Vec<u8>>,
}

impl Connections {
    /// Begins to send to the agent at `agent`, as the router with this index. Envelopes are counted in the ledger of `context`.
    #[must_use]
    pub fn start(index: String, agent: &Target, context: &LogContext) -> Self {
        Self {
            index,
            outbox: Outbox::start(agent, context),
        }
    }

    /// Tells of one connection. Never waits.
    pub fn record(&self, record: &ConnectionRecord<'_>) {
        self.outbox
            .write(|pen, scratch| pen.envelope(|out| write(out, record, &self.index, scratch)));
    }

    /// Sends what was recorded before, and ends. Losses are in the ledger.
    pub async fn finish(&self) {
        self.outbox.finish().await;
    }
}

fn write(out: &mut Vec<u8>, record: &ConnectionRecord<'_>, index: &str, scratch: &mut Vec<u8>) {
    let stop = later(record.started, record.took);
    let mut writer = Writer::new(out);
    writer
        .timestamp(stop)
        .source_id(ROUTER)
        .instance_id(index)
        .timer("tcp", record.started, stop)
        .tag("origin", ROUTER);
    let texts = [
        ("route", record.route),
        ("remote_address", record.remote_address),
        ("backend", record.backend),
        ("routing_instance_id", record.instance_id),
        ("router_error", record.error),
    ];
    for (name, text) in texts {
        if !text.is_empty() {
            writer.tag(name, text);
        }
    }
    let connect = record
        .connect
        .map(|connect| i64::try_from(connect.as_micros()).unwrap_or(i64::MAX));
    let numbers = [
        ("port", Some(i64::from(record.port))),
        ("received_bytes", Some(whole(record.received_bytes))),
        ("sent_bytes", Some(whole(record.sent_bytes))),
        ("connect_us", connect),
        (
            "failed_attempts",
            (record.failed_attempts > 0).then(|| i64::from(record.failed_attempts)),
        ),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            writer.tag(name, decimal(scratch, number));
        }
    }
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use weir_envelope::view::{EnvelopeView, Message};

    use super::*;

    /// A connection is told with what is known of it, and what is not known is left out.
    #[test]
    fn connections_are_told() {
        let carried = ConnectionRecord {
            started: 1_000,
            took: Duration::from_nanos(500),
            port: 1024,
            route: "backend_1024",
            remote_address: "10.0.0.1:4000",
            backend: "10.0.0.2:8080",
            instance_id: "",
            connect: Some(Duration::from_micros(70)),
            failed_attempts: 0,
            received_bytes: 5,
            sent_bytes: u64::MAX,
            error: "",
        };
        let told = |record: &ConnectionRecord<'_>| {
            let mut bytes = Vec::new();
            write(&mut bytes, record, "3", &mut Vec::new());
            let envelope = EnvelopeView::new(&bytes);
            assert_eq!(
                (envelope.timestamp(), envelope.source_id(), envelope.instance_id()),
                (1_500, ROUTER, "3")
            );
            assert!(matches!(
                envelope.message(),
                Message::Timer {
                    name: "tcp",
                    start: 1_000,
                    stop: 1_500
                }
            ));
            let tags = envelope.tags().map(|(name, value)| format!("{name}={value}"));
            tags.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            told(&carried),
            "origin=tcp-router route=backend_1024 remote_address=10.0.0.1:4000 backend=10.0.0.2:8080 port=1024 \
             received_bytes=5 sent_bytes=9223372036854775807 connect_us=70"
        );
        let refused = ConnectionRecord {
            route: "",
            backend: "",
            connect: None,
            failed_attempts: 2,
            sent_bytes: 0,
            error: "no_backend",
            ..carried
        };
        assert_eq!(
            told(&refused),
            "origin=tcp-router remote_address=10.0.0.1:4000 router_error=no_backend port=1024 received_bytes=5 sent_bytes=0 \
             failed_attempts=2"
        );
    }
}
