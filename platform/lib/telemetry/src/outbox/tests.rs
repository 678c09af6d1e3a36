//! Bounds, losses and the law of the outbox.

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

/// Everything is somewhere.
fn assert_law(outbox: &Outbox, in_shipments: usize) {
    let books = outbox.ledger().snapshot();
    let somewhere = books.sent + books.dropped_total() + (outbox.len() + in_shipments) as u64;
    assert_eq!(books.received, somewhere, "{books:?}");
}

/// What is put in comes out, in order, in shipments no larger than asked for; closing ends it.
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

/// A drain that waits is woken by the first envelope and brings its company along.
#[tokio::test(start_paused = true)]
async fn waits_for_company() {
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

/// An overflow costs the one who fills, is counted, and is told in the stream with a running total.
#[tokio::test(start_paused = true)]
async fn overflow_is_told_in_the_stream() {
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

    // Losing the shipment is a loss as well, and the next one tells of it.
    let lost = shipment.batch().len();
    drop(shipment);
    assert_eq!(outbox.ledger().snapshot().dropped_total(), dropped + lost as u64);
    put(&outbox, "quiet", 1);
    let shipment = outbox.drain(1000).await.unwrap();
    let told: u64 = shipment
        .batch()
        .iter()
        .map(|envelope| match envelope.view().message() {
            Message::Counter { delta, .. } => delta,
            _ => 0,
        })
        .sum();
    assert_eq!(told, lost as u64);
    assert_law(&outbox, shipment.batch().len());
}

/// What comes after closing is counted as such.
#[test]
fn closed_means_closed() {
    let outbox = outbox(10);
    outbox.close();
    put(&outbox, "a", 3);
    assert!(outbox.is_empty());
    assert_eq!(outbox.ledger().snapshot().dropped[0].reason, "shutting_down");
    assert_law(&outbox, 0);
}
