use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use weir_proto::loggregator_v2 as v2;

use super::*;

mod model;

const DEFAULTS: [(&str, &str); 4] = [
    ("deployment", "cf"),
    ("job", "cell"),
    ("index", "7"),
    ("ip", "10.0.0.1"),
];

fn rewriter() -> Rewriter {
    let pairs = DEFAULTS.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Rewriter::new(DefaultTags::new(pairs).unwrap(), 10_000)
}

fn tags<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn with_defaults<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    let mut all = tags(DEFAULTS);
    all.extend(tags(pairs));
    all
}

fn log(source_id: &str) -> v2::Envelope {
    let log = v2::Log {
        payload: Bytes::from_static(b"hello"),
        ..Default::default()
    };
    v2::Envelope {
        timestamp: 5,
        source_id: source_id.to_owned(),
        message: Some(v2::envelope::Message::Log(log)),
        ..Default::default()
    }
}

fn counter(name: &str, delta: u64, total: u64) -> v2::Envelope {
    let counter = v2::Counter {
        name: name.to_owned(),
        delta,
        total,
    };
    v2::Envelope {
        message: Some(v2::envelope::Message::Counter(counter)),
        ..log("app")
    }
}

fn text(text: &str) -> v2::Value {
    v2::Value {
        data: Some(v2::value::Data::Text(text.to_owned())),
    }
}

fn split(envelopes: Vec<v2::Envelope>) -> Batch {
    let split = Batch::split(Bytes::from(v2::EnvelopeBatch { batch: envelopes }.encode_to_vec()));
    assert!(split.rejected.is_empty() && split.broken.is_none());
    split.batch
}

fn decoded(batch: &Batch) -> Vec<v2::Envelope> {
    v2::EnvelopeBatch::decode(batch.bytes().clone()).unwrap().batch
}

/// Passes one envelope through a new rewriter.
fn one(envelope: v2::Envelope) -> v2::Envelope {
    decoded(&rewriter().rewrite(split(vec![envelope])).batch).remove(0)
}

#[test]
fn default_tags_are_added_where_absent() {
    assert_eq!(one(log("app")).tags, with_defaults([]));
    let envelope = v2::Envelope {
        tags: tags([("job", "mine"), ("x", "")]),
        ..log("app")
    };
    assert_eq!(one(envelope).tags, with_defaults([("job", "mine"), ("x", "")]));
}

/// An envelope that has all tags keeps its bytes, and they are shared and not copied.
#[test]
fn an_envelope_that_needs_nothing_passes_as_the_same_bytes() {
    let envelope = v2::Envelope {
        tags: with_defaults([("a", "b")]),
        ..log("app")
    };
    let counter = v2::Envelope {
        tags: with_defaults([]),
        ..counter("c", 1, 9)
    };
    let folded = v2::Envelope {
        tags: with_defaults([("a", "b")]),
        deprecated_tags: BTreeMap::from([("a".to_owned(), text("b"))]),
        ..log("app")
    };
    let batch = split(vec![envelope, counter, folded]);
    let rewritten = rewriter().rewrite(batch.clone());
    assert_eq!(rewritten.batch.bytes().as_ptr(), batch.bytes().as_ptr());
    assert_eq!(rewritten.batch.bytes(), batch.bytes());
}

/// Changed and unchanged envelopes keep their order, including those before the first change.
#[test]
fn changed_and_unchanged_envelopes_keep_their_order() {
    let ready = |name: &str| v2::Envelope {
        tags: with_defaults([]),
        ..log(name)
    };
    let batch = split(vec![ready("a"), ready("b"), log("c"), ready("d"), log("e")]);
    let rewritten = decoded(&rewriter().rewrite(batch).batch);
    let sources: Vec<_> = rewritten.iter().map(|envelope| envelope.source_id.as_str()).collect();
    assert_eq!(sources, ["a", "b", "c", "d", "e"]);
    assert!(rewritten.iter().all(|envelope| envelope.tags == with_defaults([])));
}

#[test]
fn an_empty_source_id_becomes_the_origin() {
    for (preferred, deprecated, source_id, mapped) in [
        (Some("p"), None, "p", 1),
        (Some("p"), Some(text("d")), "p", 1),
        (None, Some(text("d")), "d", 1),
        (None, None, "", 0),
    ] {
        let mut envelope = log("");
        envelope
            .tags
            .extend(preferred.map(|origin| ("origin".to_owned(), origin.to_owned())));
        envelope
            .deprecated_tags
            .extend(deprecated.map(|origin| ("origin".to_owned(), origin)));
        let rewritten = rewriter().rewrite(split(vec![envelope]));
        assert_eq!(rewritten.origin_mappings, mapped);
        assert_eq!(rewritten.batch.iter().next().unwrap().source_id(), source_id);
        assert_eq!(decoded(&rewritten.batch)[0].source_id, source_id);
    }
    let kept = v2::Envelope {
        tags: tags([("origin", "p")]),
        ..log("app")
    };
    assert_eq!(one(kept).source_id, "app");
}

/// Deprecated tags are copied into `tags`, replace tags there, and stay where they were. Numbers are formatted as the
/// original formats them.
#[test]
fn deprecated_tags_are_copied_into_tags() {
    let integer = v2::Value {
        data: Some(v2::value::Data::Integer(-3)),
    };
    let decimal = |value| v2::Value {
        data: Some(v2::value::Data::Decimal(value)),
    };
    let deprecated = BTreeMap::from([
        ("text".to_owned(), text("new")),
        ("integer".to_owned(), integer),
        ("decimal".to_owned(), decimal(0.1)),
        ("large".to_owned(), decimal(1e21)),
        ("nothing".to_owned(), v2::Value { data: None }),
        ("job".to_owned(), text("theirs")),
    ]);
    let envelope = v2::Envelope {
        tags: tags([("text", "old"), ("a", "b")]),
        deprecated_tags: deprecated.clone(),
        ..log("app")
    };
    let batch = rewriter().rewrite(split(vec![envelope])).batch;
    let expected = with_defaults([
        ("text", "new"),
        ("a", "b"),
        ("integer", "-3"),
        ("decimal", "0.1"),
        ("large", "1000000000000000000000"),
        ("nothing", ""),
        ("job", "theirs"),
    ]);
    let rewritten = decoded(&batch).remove(0);
    assert_eq!(rewritten.tags, expected);
    assert_eq!(rewritten.deprecated_tags, deprecated);
    // The replaced value is removed from the encoded envelope, and not only overridden by a later one.
    let raw = batch.iter().next().unwrap();
    assert_eq!(
        raw.view().tags().filter(|(key, _)| *key == "text").collect::<Vec<_>>(),
        [("text", "new")]
    );
}

#[test]
fn counters_get_their_running_total() {
    let rewriter = rewriter();
    let totals = |envelopes| -> Vec<(u64, u64)> {
        decoded(&rewriter.rewrite(split(envelopes)).batch)
            .into_iter()
            .map(|envelope| match envelope.message {
                Some(v2::envelope::Message::Counter(counter)) => (counter.delta, counter.total),
                other => unreachable!("{other:?}"),
            })
            .collect()
    };
    assert_eq!(
        totals(vec![counter("c", 2, 0), counter("c", 3, 0), counter("c", 0, 0)]),
        [(2, 2), (3, 5), (0, 5)]
    );
    assert_eq!(
        totals(vec![counter("c", 1, 50), counter("c", 1, 0)]),
        [(1, 50), (1, 51)]
    );
    // Another tag set is another series. The order of tags on the wire makes no difference.
    let tagged = |pairs| v2::Envelope {
        tags: tags(pairs),
        ..counter("c", 1, 0)
    };
    assert_eq!(
        totals(vec![tagged([("a", "1"), ("b", "2")]), tagged([("b", "2"), ("a", "1")])]),
        [(1, 1), (1, 2)]
    );
    // An envelope whose source id comes from its origin belongs to the series of that source id.
    let mapped = v2::Envelope {
        source_id: String::new(),
        tags: tags([("origin", "app")]),
        ..counter("d", 1, 0)
    };
    let named = v2::Envelope {
        tags: tags([("origin", "app")]),
        ..counter("d", 1, 0)
    };
    assert_eq!(totals(vec![mapped, named]), [(1, 1), (1, 2)]);
}

/// A rewritten counter occurs once in the envelope, so that readers which do not merge see its name and delta too.
#[test]
fn a_rewritten_counter_is_in_the_envelope_once() {
    let batch = rewriter().rewrite(split(vec![counter("c", 2, 0)])).batch;
    let raw = batch.iter().next().unwrap();
    let counters = Fields::new(raw.bytes())
        .filter(|field| matches!(field, Ok((field::COUNTER, _))))
        .count();
    assert_eq!(counters, 1);
}

/// A second rewriter after the first changes nothing, whatever the envelope contains.
#[test]
fn rewriting_twice_is_rewriting_once() {
    let envelope = v2::Envelope {
        source_id: String::new(),
        tags: tags([("a", "b"), ("origin", "o"), ("job", "")]),
        deprecated_tags: BTreeMap::from([("a".to_owned(), text("c")), ("d".to_owned(), text("e"))]),
        ..log("")
    };
    let rewriter = rewriter();
    let once = rewriter.rewrite(split(vec![envelope, log("app")]));
    let twice = rewriter.rewrite(once.batch.clone());
    assert_eq!(twice.batch.bytes(), once.batch.bytes());
    assert_eq!(twice.origin_mappings, 0);
}

/// Map entries that are encoded in unusual ways are read as protobuf requires.
#[test]
fn odd_map_entries() {
    assert_eq!(tag_map::entry_key(b""), b"");
    assert_eq!(tag_map::entry_key(b"\x12\x01v"), b"");
    assert_eq!(tag_map::entry_key(b"\x12\x01v\x0a\x01k"), b"k");
    assert_eq!(tag_map::entry_key(b"\x0a\x01k\x0a\x01l"), b"l");
    assert_eq!(tag_map::entry_key(b"\x0a\x01k\x12\x00\x0a\x01l"), b"l");
    assert_eq!(tag_map::entry_key(b"\x0a\x01k"), b"k");
}
