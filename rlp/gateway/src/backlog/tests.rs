//! Tests of splitting, sending, keeping and reconnecting. Each checks that the ledger balances.

use std::sync::Arc;

use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;

use super::*;

fn message(source_id: &str, first: usize, count: usize, len: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    for number in first..first + count {
        builder.push_with(|out| {
            let line = format!("{}{number}", "0".repeat(len));
            Writer::new(out)
                .timestamp(1)
                .source_id(source_id)
                .log(line.as_bytes(), Stream::Out);
        });
    }
    builder.finish().bytes().clone()
}

fn assert_balanced(ledger: &Arc<Ledger>) -> (u64, u64, u64, i64) {
    let assert_balanced = ledger.snapshot();
    assert_eq!(
        assert_balanced.received.cast_signed(),
        assert_balanced.sent.cast_signed() + assert_balanced.dropped_total().cast_signed() + assert_balanced.in_flight
    );
    (
        assert_balanced.received,
        assert_balanced.sent,
        assert_balanced.dropped_total(),
        assert_balanced.in_flight,
    )
}

/// No event has more than 100 envelopes or 256 KiB, unless one envelope is larger, and no envelope is lost or
/// duplicated.
#[test]
fn messages_are_cut_into_events() {
    let ledger = Ledger::in_memory("rlp-gateway");
    let mut backlog = Backlog::new(0);
    backlog.push(message("app", 0, 250, 10), &ledger);
    backlog.push(message("app", 250, 5, 100_000), &ledger);
    backlog.push(message("app", 255, 2, 400_000), &ledger);
    let mut sizes = Vec::new();
    let mut sent = 0;
    while let Some(event) = backlog.send(None, sent + 1) {
        sent += 1;
        let text = String::from_utf8(event.to_vec()).unwrap();
        sizes.push(text.matches("\"payload\"").count());
        assert!(text.starts_with("data: {\"batch\":[") && text.ends_with("]}\n\n"));
    }
    assert_eq!(sizes, [100, 100, 50, 2, 2, 1, 1, 1]);
    assert_eq!(assert_balanced(&ledger), (257, 0, 0, 257));
    backlog.written(3, &ledger);
    assert_eq!(assert_balanced(&ledger), (257, 250, 0, 7));
    backlog.written(sent, &ledger);
    assert_eq!(assert_balanced(&ledger), (257, 257, 0, 0));
    assert!(backlog.pieces.is_empty() && backlog.bytes == 0);
}

/// What is not written when the stream ends is counted as lost by source.
#[test]
fn unwritten_envelopes_are_counted() {
    let ledger = Ledger::in_memory("rlp-gateway");
    let mut backlog = Backlog::new(0);
    backlog.push(message("a", 0, 10, 10), &ledger);
    backlog.send(None, 1);
    backlog.written(1, &ledger);
    backlog.push(message("b", 0, 3, 10), &ledger);
    backlog.push(Bytes::from_static(b"\x0a\x03\x0a\x01x\xff"), &ledger);
    backlog.send(None, 2);
    backlog.abandon(Reason::ConsumerGone, &ledger);
    let (received, sent, dropped, in_flight) = assert_balanced(&ledger);
    assert_eq!((sent, in_flight), (10, 0));
    assert_eq!(received, sent + dropped);
    let reports = ledger.take_reports();
    assert!(
        reports
            .iter()
            .any(|report| report.source_id == "b" && report.count == 3),
        "{reports:?}"
    );
}

/// A client that reconnects gets exactly what it does not have, and nothing is counted twice.
#[test]
fn clients_resume_where_they_stopped() {
    let ledger = Ledger::in_memory("rlp-gateway");
    let mut backlog = Backlog::new(1 << 20);
    for number in 0..6 {
        backlog.push(message("app", number, 1, 10), &ledger);
    }
    for number in 1..=4 {
        let event = backlog.send(Some("s"), number).unwrap();
        assert!(event.ends_with(format!("\nid: s.{number}\n\n").as_bytes()));
    }
    backlog.written(4, &ledger);
    assert_eq!(assert_balanced(&ledger), (6, 4, 0, 2));
    assert_eq!(backlog.rewind(2, &ledger), 0);
    for number in 3..=6 {
        let event = backlog.send(Some("s"), number - 2).unwrap();
        assert!(event.ends_with(format!("\nid: s.{number}\n\n").as_bytes()), "{number}");
    }
    assert!(backlog.send(Some("s"), 9).is_none());
    // The client says that it has everything, which settles it even if it is not known to be written.
    assert_eq!(backlog.rewind(6, &ledger), 0);
    assert_eq!(assert_balanced(&ledger), (6, 6, 0, 0));
    assert!(!backlog.has_waiting());
    // A number above the last event means the last event.
    assert_eq!(backlog.rewind(u64::MAX, &ledger), 0);
    assert!(backlog.send(Some("s"), 9).is_none());
    backlog.push(message("app", 6, 1, 10), &ledger);
    assert!(backlog.send(Some("s"), 1).unwrap().ends_with(b"\nid: s.7\n\n"));
}

/// The amount that is kept is bounded, and a client that asks for more learns how many events are missing.
#[test]
fn kept_events_are_bounded() {
    let ledger = Ledger::in_memory("rlp-gateway");
    let mut backlog = Backlog::new(PIECE);
    for number in 0..40 {
        backlog.push(message("app", number, 1, 20_000), &ledger);
        backlog.send(Some("s"), 1).unwrap();
        backlog.written(1, &ledger);
        assert!(backlog.bytes <= PIECE + 20_200, "{}", backlog.bytes);
    }
    assert_eq!(assert_balanced(&ledger), (40, 40, 0, 0));
    let missing = backlog.rewind(10, &ledger);
    assert_eq!(missing + 10 + backlog.pieces.len() as u64, 40);
    let event = backlog.send(Some("s"), 1).unwrap();
    assert!(event.ends_with(format!("\nid: s.{}\n\n", 11 + missing).as_bytes()));
    // For an absent client the backlog fills up to the limit.
    while !backlog.is_full() {
        backlog.push(message("app", 0, 1, 20_000), &ledger);
    }
    backlog.abandon(Reason::ConsumerGone, &ledger);
    assert_balanced(&ledger);
}
