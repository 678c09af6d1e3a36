//! Tests of the bounds, the losses and the counts of the outbox.

use weir_envelope::view::{Message, Stream};

use super::*;

fn outbox(envelopes: usize) -> Arc<Outbox> {
    Outbox::new(
        Capacity {
            envelopes,
            bytes: 1 << 20,
        },
        Ledger::in_memory("telemetry"),
        "0",
    )
}

fn put(outbox: &Outbox, source_id: &str, count: usize) {
    for _ in 0..count {
        outbox.put(|writer| {
            writer.source_id(source_id).log(b"line", Stream::Out);
        });
    }
}

/// Checks that each envelope is counted exactly once.
fn assert_law(outbox: &Outbox, in_shipments: usize) {
    let counts = outbox.ledger().snapshot();
    let somewhere = counts.sent + counts.dropped_total() + (outbox.len() + in_shipments) as u64;
    assert_eq!(counts.received, somewhere, "{counts:?}");
}

/// Envelopes are shipped in order, in shipments of at most the given size, and closing ends this.
#[tokio::test(start_paused = true)]
async fn ships_what_is_put_in() {
    let outbox = outbox(100);
    put(&outbox, "a", 25);
    let first = outbox.drain(20).await.unwrap();
    assert_eq!(first.batch().len(), 20);
    assert_law(&outbox, 20);
    first.delivered();
    outbox.close();
    let second = outbox.drain(20).await.unwrap();
    assert_eq!(second.batch().len(), 5);
    second.delivered();
    assert!(outbox.drain(20).await.is_none());
    assert_eq!(outbox.ledger().snapshot().sent, 25);
    assert_law(&outbox, 0);
}

/// A waiting drain wakes up with the first envelope and takes those that follow shortly.
#[tokio::test(start_paused = true)]
async fn waits_for_more_envelopes() {
    let outbox = outbox(100);
    let draining = tokio::spawn({
        let outbox = Arc::clone(&outbox);
        async move { outbox.drain(10).await.map(|shipment| shipment.batch().len()) }
    });
    tokio::task::yield_now().await;
    put(&outbox, "a", 1);
    tokio::task::yield_now().await;
    put(&outbox, "b", 2);
    assert_eq!(draining.await.unwrap(), Some(3));
}

/// If the outbox overflows, the component that fills it loses envelopes, and the stream reports this with a running
/// total.
#[tokio::test(start_paused = true)]
async fn overflow_is_reported_in_the_stream() {
    let outbox = outbox(80);
    put(&outbox, "quiet", 5);
    put(&outbox, "noisy", 500);
    assert!(outbox.len() <= 80);
    assert_law(&outbox, 0);
    let shipment = outbox.drain(1000).await.unwrap();
    let lines = |source: &str| {
        shipment
            .batch()
            .iter()
            .filter(|envelope| envelope.source_id() == source)
            .count()
    };
    assert_eq!(lines("quiet"), 5);
    let counter = shipment.batch().iter().last().unwrap();
    let dropped = outbox.ledger().snapshot().dropped_total();
    assert!(dropped > 400);
    assert_eq!(counter.source_id(), "noisy");
    assert!(matches!(
        counter.view().message(),
        Message::Counter { name: "dropped", delta, total } if delta == dropped && total == dropped
    ));
    assert_eq!(counter.view().tag("reason").as_deref(), Some("buffer_full"));
    assert_law(&outbox, shipment.batch().len());

    // A lost shipment counts as a loss, and the next one reports it.
    let lost = shipment.batch().len();
    drop(shipment);
    assert_eq!(outbox.ledger().snapshot().dropped_total(), dropped + lost as u64);
    put(&outbox, "quiet", 1);
    let shipment = outbox.drain(1000).await.unwrap();
    let reported_losses: u64 = shipment
        .batch()
        .iter()
        .map(|envelope| match envelope.view().message() {
            Message::Counter { delta, .. } => delta,
            _ => 0,
        })
        .sum();
    assert_eq!(reported_losses, lost as u64);
    assert_law(&outbox, shipment.batch().len());
}

/// What is added after closing is counted as lost.
#[test]
fn a_closed_outbox_accepts_nothing() {
    let outbox = outbox(10);
    outbox.close();
    put(&outbox, "a", 3);
    assert!(outbox.is_empty());
    assert_eq!(outbox.ledger().snapshot().dropped[0].reason, "shutting_down");
    assert_law(&outbox, 0);
}
