use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;
use weir_envelope::view::Stream;
use weir_flow::Tracker;

use super::*;

fn log(source_id: &str, payload: &[u8]) -> Vec<u8> {
    let mut envelope = Vec::new();
    Writer::new(&mut envelope)
        .timestamp(1)
        .source_id(source_id)
        .log(payload, Stream::Out);
    envelope
}

fn event(source_id: &str) -> Vec<u8> {
    let mut envelope = Vec::new();
    Writer::new(&mut envelope).source_id(source_id).event("title", "body");
    envelope
}

fn gauge(source_id: &str) -> Vec<u8> {
    let mut envelope = Vec::new();
    Writer::new(&mut envelope)
        .source_id(source_id)
        .gauge(&[("a", "u", 1.0), ("b", "u", 2.0)]);
    envelope
}

fn message(envelopes: &[Vec<u8>]) -> Arrival {
    let mut builder = BatchBuilder::new();
    envelopes.iter().for_each(|envelope| assert!(builder.push(envelope)));
    let message = builder.finish().bytes().clone();
    Arrival { message, receipt: None }
}

fn frames(buffer: &[u8]) -> Vec<Bytes> {
    let mut frames = Vec::new();
    let mut at = 0;
    while at < buffer.len() {
        let len = next_frame_len(&buffer[at..]);
        frames.push(Bytes::copy_from_slice(&buffer[at..at + len]));
        at += len;
    }
    frames
}

/// A gauge with two metrics gives two v1 envelopes and counts as one v2 envelope. An event has no v1 form and is
/// counted.
#[test]
fn envelopes_and_frames_are_counted_separately() {
    let mut outgoing = Outgoing::new(Filter::Everything);
    outgoing.push(message(&[log("a", b"x"), gauge("a"), event("e")]));
    assert_eq!(frames(outgoing.buffer()).len(), 3);
    let findings = outgoing.take_findings();
    assert_eq!(findings.received, 3);
    assert_eq!(
        findings.unconvertible,
        [Loss {
            source_id: "e".to_owned(),
            count: 1
        }]
    );
    assert_eq!(
        outgoing.written(),
        Tally {
            envelopes: 2,
            frames: 3
        }
    );
    assert!(outgoing.buffer().is_empty());
    assert_eq!(outgoing.abandon(0), (Tally::default(), Vec::new()));
}

/// Envelopes that the filter removes were not asked for, so they count neither as received nor as lost.
#[test]
fn filtered_envelopes_do_not_count() {
    let mut outgoing = Outgoing::new(Filter::App("a".to_owned()));
    outgoing.push(message(&[gauge("a"), log("a", b"x")]));
    assert_eq!(frames(outgoing.buffer()).len(), 1);
    assert_eq!(outgoing.take_findings().received, 1);
    assert_eq!(
        outgoing.abandon(0).1,
        [Loss {
            source_id: "a".to_owned(),
            count: 1
        }]
    );
}

/// A message larger than the buffer is written in parts, and its receipt is released with the last one.
#[test]
fn a_receipt_is_kept_until_everything_is_written() {
    let tracker = Tracker::new();
    let line = vec![b'x'; 1000];
    let mut big = message(&vec![log("a", &line); 200]);
    big.receipt = Some(tracker.receipt(1));
    let mut outgoing = Outgoing::new(Filter::Everything);
    outgoing.push(big);
    let mut total = Tally::default();
    while !outgoing.buffer().is_empty() {
        assert!(outgoing.buffer().len() < FULL + 2000);
        assert_eq!(tracker.progress().handed_on, 0);
        let tally = outgoing.written();
        total.envelopes += tally.envelopes;
        total.frames += tally.frames;
    }
    assert_eq!(
        total,
        Tally {
            envelopes: 200,
            frames: 200
        }
    );
    assert_eq!(tracker.progress().handed_on, 1);
}

/// For every cut of the stream: envelopes in the socket count as delivered, all others as lost by source, and the sum
/// is complete.
#[test]
fn the_counts_are_complete_at_every_cut() {
    let envelopes: Vec<_> = (0..6)
        .flat_map(|_| [log("a", b"x"), event("e"), gauge("b"), log("c", &[b'y'; 300])])
        .collect();
    let new = || {
        let mut outgoing = Outgoing::new(Filter::Everything);
        outgoing.push(message(&envelopes[..10]));
        outgoing.push(message(&envelopes[10..]));
        outgoing
    };
    let len = new().buffer().len();
    for cut in 0..=len {
        let mut outgoing = new();
        let whole: Vec<_> = frames(&outgoing.buffer()[..outgoing.frame_end(cut)]);
        let end = outgoing.frame_end(cut);
        assert!(end >= cut && end - cut < whole.last().map_or(1, Bytes::len));
        let complete = if end == cut { whole.len() } else { whole.len() - 1 };
        let unconvertible = outgoing
            .take_findings()
            .unconvertible
            .iter()
            .map(|loss| loss.count)
            .sum::<u64>();
        let (tally, losses) = outgoing.abandon(cut);
        let lost: u64 = losses.iter().map(|loss| loss.count).sum();
        assert_eq!(
            tally.envelopes + lost + unconvertible,
            envelopes.len() as u64,
            "cut at {cut}"
        );
        // A gauge of which only one frame arrived counts as lost.
        assert!(
            tally.frames <= complete as u64 && complete as u64 - tally.frames <= 1,
            "cut at {cut}"
        );
    }
}
