use bytes::Bytes;

use super::{Batch, BatchBuilder, Kind, LINK_FIELD};
use crate::wire::{WireError, put_bytes, put_uint};

fn log(source_id: &str, payload: &[u8]) -> Vec<u8> {
    let mut log = Vec::new();
    put_bytes(&mut log, 1, payload);
    let mut envelope = Vec::new();
    put_uint(&mut envelope, 1, 1_700_000_000_000_000_000);
    put_bytes(&mut envelope, 2, source_id.as_bytes());
    put_bytes(&mut envelope, 4, &log);
    envelope
}

fn message(envelopes: &[Vec<u8>]) -> Vec<u8> {
    let mut message = Vec::new();
    for envelope in envelopes {
        put_bytes(&mut message, 1, envelope);
    }
    message
}

fn sources(batch: &Batch) -> Vec<String> {
    batch.iter().map(|envelope| envelope.source_id().to_owned()).collect()
}

/// A batch that is split from a well-formed message shares its bytes and finds every envelope in them.
#[test]
fn split_shares_the_bytes_of_a_clean_message() {
    let envelopes = [log("a", b"one"), log("", b"two"), log("b", b"\xff\x00")];
    let message = Bytes::from(message(&envelopes));
    let split = Batch::split(message.clone());
    assert_eq!(split.batch.bytes().as_ptr(), message.as_ptr());
    assert!(split.rejected.is_empty() && split.broken.is_none() && split.link.is_none());
    assert_eq!(sources(&split.batch), ["a", "", "b"]);
    for (raw, envelope) in split.batch.iter().zip(&envelopes) {
        assert_eq!(raw.bytes(), envelope);
        assert_eq!(raw.kind(), Kind::Log);
    }
}

/// A message has a malformed envelope, unknown fields and the link field between good envelopes: only the malformed
/// envelope is missing from the batch.
#[test]
fn only_the_malformed_envelope_is_rejected() {
    let mut bytes = message(&[log("a", b"one")]);
    put_bytes(&mut bytes, LINK_FIELD, b"link");
    put_bytes(&mut bytes, 1, &{
        let mut bad = log("bad", b"x");
        put_bytes(&mut bad, 8, b"\xff");
        bad
    });
    put_bytes(&mut bytes, 77, b"unknown");
    put_bytes(&mut bytes, 1, &log("b", b"two"));
    let split = Batch::split(bytes.into());
    assert_eq!(sources(&split.batch), ["a", "b"]);
    assert_eq!(split.rejected.len(), 1);
    assert_eq!(split.rejected[0].source_id, "bad");
    assert_eq!(split.rejected[0].error, WireError::NotUtf8(8));
    assert_eq!(split.link.as_deref(), Some(&b"link"[..]));
    assert_eq!(
        split.batch.bytes().as_ref(),
        message(&[log("a", b"one"), log("b", b"two")])
    );
}

/// A message is cut off within its second envelope: the first one is kept and the break is reported.
#[test]
fn truncation_keeps_what_came_before() {
    let whole = message(&[log("a", b"one"), log("b", b"two")]);
    let split = Batch::split(Bytes::from(whole).slice(..40));
    assert_eq!(sources(&split.batch), ["a"]);
    assert_eq!(split.broken, Some(WireError::Truncated));
}

/// Picking all envelopes shares the bytes; picking some copies them, and the copy can be picked from again.
#[test]
fn a_selection_is_a_valid_batch() {
    let batch = Batch::split(message(&[log("a", b"1"), log("bb", b"2"), log("a", b"3")]).into()).batch;
    let part = batch.select(|envelope| envelope.source_id() == "a").expect("two match");
    assert_eq!(part.bytes().as_ref(), message(&[log("a", b"1"), log("a", b"3")]));
    assert_eq!(sources(&part), ["a", "a"]);
    assert_eq!(sources(&part.pick(&[1]).expect("one")), ["a"]);
    assert!(batch.select(|_| false).is_none());
    let all = batch.select(|_| true).expect("all");
    assert_eq!(all.bytes().as_ptr(), batch.bytes().as_ptr());
}

/// `Batch::split` reads from a builder's bytes exactly the envelopes that were appended.
#[test]
fn the_builder_and_split_agree() {
    let other = Batch::from_envelope(&log("third", b"3")).expect("valid");
    let mut builder = BatchBuilder::new();
    assert!(builder.push(&log("first", b"1")));
    assert!(!builder.push(b"\x0a"));
    assert!(builder.push_with(|out| out.extend(log("second", b"2"))));
    builder.push_raw(other.iter().next().expect("one"));
    let batch = builder.finish();
    assert!(builder.is_empty());
    let again = Batch::split(batch.bytes().clone());
    assert!(again.rejected.is_empty());
    assert_eq!(sources(&batch), ["first", "second", "third"]);
    assert_eq!(sources(&again.batch), sources(&batch));
}

/// Added tags change no fact that routing reads: the built batch equals a split of its bytes, also where the length
/// prefix becomes longer.
#[test]
fn added_tags_keep_source_and_kind() {
    let mut tags = Vec::new();
    put_bytes(&mut tags, 9, b"\x0a\x03job\x12\x04cell");
    for payload in [0, 80, 90, 200, 20_000] {
        let before = Batch::split(Bytes::from(message(&[
            log("a", b""),
            log("app", &vec![b'x'; payload]),
            log("", b"y"),
        ])));
        let mut builder = BatchBuilder::new();
        before
            .batch
            .iter()
            .for_each(|envelope| builder.push_tagged(envelope, &tags));
        let batch = builder.finish();
        let found = Batch::split(batch.bytes().clone());
        assert!(found.rejected.is_empty() && found.broken.is_none());
        assert_eq!(sources(&batch), ["a", "app", ""]);
        for ((tagged, found), before) in batch.iter().zip(found.batch.iter()).zip(before.batch.iter()) {
            assert_eq!(
                (tagged.bytes(), tagged.source_hash()),
                (found.bytes(), found.source_hash())
            );
            assert_eq!((tagged.source_id(), tagged.kind()), (before.source_id(), before.kind()));
            assert_eq!(tagged.view().tag("job").as_deref(), Some("cell"));
        }
    }
}
