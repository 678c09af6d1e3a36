//! Cutting, sending, keeping, coming back, and the books throughout.

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

fn books(ledger: &Arc<Ledger>) -> (u64, u64, u64, i64) {
    let books = ledger.snapshot();
    assert_eq!(
        books.received.cast_signed(),
        books.sent.cast_signed() + books.dropped_total().cast_signed() + books.in_flight
    );
    (books.received, books.sent, books.dropped_total(), books.in_flight)
}

/// No event has more than a hundred envelopes or 256 KiB, unless a single one is larger; none is lost or doubled.
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
    assert_eq!(books(&ledger), (257, 0, 0, 257));
    backlog.written(3, &ledger);
    assert_eq!(books(&ledger), (257, 250, 0, 7));
    backlog.written(sent, &ledger);
    assert_eq!(books(&ledger), (257, 257, 0, 0));
    assert!(backlog.pieces.is_empty() && backlog.bytes == 0);
}

/// What is not written when the stream ends is lost, by its sources.
#[test]
fn what_is_not_written_is_counted() {
    let ledger = Ledger::in_memory("rlp-gateway");
    let mut backlog = Backlog::new(0);
    backlog.push(message("a", 0, 10, 10), &ledger);
    backlog.send(None, 1);
    backlog.written(1, &ledger);
    backlog.push(message("b", 0, 3, 10), &ledger);
    backlog.push(Bytes::from_static(b"\x0a\x03\x0a\x01x\xff"), &ledger);
    backlog.send(None, 2);
    backlog.abandon(Reason::ConsumerGone, &ledger);
    let (received, sent, dropped, in_flight) = books(&ledger);
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

/// A client that comes back gets exactly what it does not have; nothing is counted twice.
#[test]
fn clients_come_back() {
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
    assert_eq!(books(&ledger), (6, 4, 0, 2));
    assert_eq!(backlog.rewind(2, &ledger), 0);
    for number in 3..=6 {
        let event = backlog.send(Some("s"), number - 2).unwrap();
        assert!(event.ends_with(format!("\nid: s.{number}\n\n").as_bytes()), "{number}");
    }
    assert!(backlog.send(Some("s"), 9).is_none());
    // It says that it has everything: that settles it, written or not.
    assert_eq!(backlog.rewind(6, &ledger), 0);
    assert_eq!(books(&ledger), (6, 6, 0, 0));
    assert!(!backlog.has_waiting());
    // More than was ever sent is no more than everything.
    assert_eq!(backlog.rewind(u64::MAX, &ledger), 0);
    assert!(backlog.send(Some("s"), 9).is_none());
    backlog.push(message("app", 6, 1, 10), &ledger);
    assert!(backlog.send(Some("s"), 1).unwrap().ends_with(b"\nid: s.7\n\n"));
}

/// Only so much is kept; who comes back for more is told how much is missing.
#[test]
fn what_is_kept_is_bounded() {
    let ledger = Ledger::in_memory("rlp-gateway");
    let mut backlog = Backlog::new(PIECE);
    for number in 0..40 {
        backlog.push(message("app", number, 1, 20_000), &ledger);
        backlog.send(Some("s"), 1).unwrap();
        backlog.written(1, &ledger);
        assert!(backlog.bytes <= PIECE + 20_200, "{}", backlog.bytes);
    }
    assert_eq!(books(&ledger), (40, 40, 0, 0));
    let missing = backlog.rewind(10, &ledger);
    assert_eq!(missing + 10 + backlog.pieces.len() as u64, 40);
    let event = backlog.send(Some("s"), 1).unwrap();
    assert!(event.ends_with(format!("\nid: s.{}\n\n", 11 + missing).as_bytes()));
    // A client that is away fills it up, and no further: then nothing more is taken.
    while !backlog.is_full() {
        backlog.push(message("app", 0, 1, 20_000), &ledger);
    }
    backlog.abandon(Reason::ConsumerGone, &ledger);
    books(&ledger);
}
