//! A test of telemetry in a process, where it is installed once and globally.

use opentelemetry::KeyValue;
use tracing::Instrument as _;
use weir_error::Classify as _;
use weir_service::Context;
use weir_telemetry::{Options, init};

/// One installation serves all components of the process. Their metrics, events and spans have their own names, from
/// any thread. A second installation is refused. After closing, the outbox can be drained to its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_installation_serves_all_components() {
    let telemetry = init(Options::new("up")).unwrap();
    assert_eq!(
        init(Options::new("up")).unwrap_err().to_string(),
        "telemetry is installed already"
    );
    let bad = Options {
        level: "info,=".to_owned(),
        ..Options::new("up")
    };
    assert!(init(bad).unwrap_err().hint().is_some());

    for component in ["doppler", "rlp"] {
        let (_trigger, context) = Context::new(component);
        let instruments = context.meter();
        let work = async {
            instruments
                .u64_counter("ingress")
                .build()
                .add(3, &[KeyValue::new("protocol", "grpc")]);
            context
                .tasks
                .spawn("work", async {
                    let span = tracing::info_span!(target: "weir::test", "request");
                    async { tracing::info!(target: "weir::test", "done") }
                        .instrument(span)
                        .await;
                })
                .await
                .unwrap();
        };
        work.instrument(context.span()).await;
    }
    telemetry.close().await;

    let outbox = telemetry.outbox();
    let mut found = Vec::new();
    while let Some(shipment) = outbox.drain(100).await {
        for envelope in shipment.batch().iter() {
            let component = envelope.view().tag("component").unwrap().into_owned();
            found.push(format!("{component} {} {:?}", envelope.source_id(), envelope.kind()));
        }
        shipment.delivered();
    }
    found.sort();
    assert_eq!(
        found,
        [
            "doppler doppler Counter",
            "doppler doppler Log",
            "doppler doppler Timer",
            "rlp reverse_log_proxy Counter",
            "rlp rlp Log",
            "rlp rlp Timer",
            // The counter of log lines that the process left out.
            "up up Counter",
        ]
    );
    assert_eq!(outbox.ledger().snapshot().sent, 7);
}
