//! Tests from instruments to envelopes.

use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use weir_envelope::batch::Batch;
use weir_envelope::view::Message;
use weir_flow::{Capacity, Ledger};

use super::*;

/// A provider that exports on demand, and what it exported.
struct Bench {
    provider: SdkMeterProvider,
    outbox: Arc<Outbox>,
}

fn bench() -> Bench {
    let capacity = Capacity {
        envelopes: 1000,
        bytes: 1 << 20,
    };
    let outbox = Outbox::new(capacity, Ledger::in_memory("telemetry"), "7");
    let exporter = EnvelopeExporter::new(Arc::clone(&outbox), "7".into());
    let reader = PeriodicReader::builder(exporter)
        .with_interval(Duration::from_hours(1))
        .build();
    Bench {
        provider: SdkMeterProvider::builder().with_reader(reader).build(),
        outbox,
    }
}

impl Bench {
    async fn collect(&self) -> Batch {
        self.provider.force_flush().unwrap();
        let shipment = self.outbox.drain(1000).await.unwrap();
        let batch = shipment.batch().clone();
        shipment.delivered();
        batch
    }
}

/// Returns each envelope as one line: source id, content and tags.
fn lines(batch: &Batch) -> Vec<String> {
    let mut lines: Vec<String> = batch
        .iter()
        .map(|envelope| {
            let view = envelope.view();
            let mut tags: Vec<String> = view.tags().map(|(key, value)| format!("{key}={value}")).collect();
            tags.sort();
            let content = match view.message() {
                Message::Counter { name, delta, total } => format!("{name} +{delta} {total}"),
                Message::Gauge(metrics) => metrics
                    .map(|metric| format!("{} {}{}", metric.name, metric.value, metric.unit))
                    .collect(),
                other => format!("{other:?}"),
            };
            format!("{} {content} [{}]", envelope.source_id(), tags.join(","))
        })
        .collect();
    lines.sort();
    lines
}

/// Counters have delta and total, with the original's names and tags, also when they are idle. Series are separate.
#[tokio::test]
async fn counters_have_delta_and_total() {
    let bench = bench();
    let meter = bench.provider.meter("rlp");
    let ingress = meter.u64_counter("ingress").build();
    ingress.add(5, &[KeyValue::new("protocol", "grpc")]);
    ingress.add(2, &[]);
    let tags = "component=rlp,metric_version=2.0,origin=loggregator.rlp";
    assert_eq!(
        lines(&bench.collect().await),
        [
            format!("reverse_log_proxy ingress +2 2 [{tags}]"),
            format!("reverse_log_proxy ingress +5 5 [{tags},protocol=grpc]"),
        ]
    );
    ingress.add(3, &[]);
    assert_eq!(
        lines(&bench.collect().await),
        [
            format!("reverse_log_proxy ingress +0 5 [{tags},protocol=grpc]"),
            format!("reverse_log_proxy ingress +3 5 [{tags}]"),
        ]
    );
}

/// Gauges keep value and unit until they change. Values that can decrease are gauges too, and so are sums of decimals.
#[tokio::test]
async fn gauges_keep_their_value() {
    let bench = bench();
    let meter = bench.provider.meter("doppler");
    meter
        .u64_gauge("subscriptions")
        .with_unit("total")
        .build()
        .record(4, &[]);
    meter.i64_up_down_counter("sinks").build().add(-2, &[]);
    meter.f64_counter("busy").with_unit("s").build().add(0.5, &[]);
    for _ in 0..2 {
        let tags = "component=doppler,metric_version=2.0,origin=loggregator.doppler";
        assert_eq!(
            lines(&bench.collect().await),
            [
                format!("doppler busy 0.5s [{tags}]"),
                format!("doppler sinks -2 [{tags}]"),
                format!("doppler subscriptions 4total [{tags}]"),
            ]
        );
    }
}

/// A histogram becomes the series from which PromQL computes quantiles.
#[tokio::test]
async fn histograms_become_buckets() {
    let bench = bench();
    let histogram = bench
        .provider
        .meter("doppler")
        .f64_histogram("wait")
        .with_boundaries(vec![1.0, 10.0])
        .build();
    histogram.record(0.5, &[]);
    histogram.record(5.0, &[]);
    histogram.record(50.0, &[]);
    let found = lines(&bench.collect().await);
    let contents: Vec<&str> = found.iter().map(|line| line.split(" [").next().unwrap()).collect();
    assert_eq!(
        contents,
        [
            "doppler wait_bucket +1 1",
            "doppler wait_bucket +2 2",
            "doppler wait_bucket +3 3",
            "doppler wait_count +3 3",
            "doppler wait_sum 55.5",
        ]
    );
    assert!(found[0].contains("le=1,") && found[2].contains("le=+Inf"), "{found:?}");
}

/// A gauge whose name begins with a port gets its beginning from an attribute, which is no tag.
#[tokio::test]
async fn names_may_begin_with_a_port() {
    let bench = bench();
    let sessions = bench.provider.meter("tcp-router").u64_gauge("CurrentSessions").build();
    sessions.record(3, &[KeyValue::new(crate::NAME_PREFIX, "1024")]);
    let lines = lines(&bench.collect().await);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains(" 1024.CurrentSessions 3 [") && !lines[0].contains("prefix"),
        "{lines:?}"
    );
}
