//! Properties of writing and reading that hold for every envelope and for arbitrary bytes.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use weir_envelope::batch::Batch;
use weir_envelope::encode::Writer;
use weir_envelope::view::{EnvelopeView, Message, Stream};
use weir_syslog::decode::{Decoder, Fault, Item};
use weir_syslog::envelope::{Mapper, Refused, to_envelope};
use weir_syslog::read::parse;
use weir_syslog::{Formatter, Framing};

/// The parts of an envelope, by which two envelopes are compared.
#[derive(Debug, Clone, PartialEq)]
struct Parts {
    timestamp: i64,
    source_id: String,
    instance_id: String,
    tags: BTreeMap<String, String>,
    payload: Payload,
}

#[derive(Debug, Clone, PartialEq)]
enum Payload {
    Log(Vec<u8>, Stream),
    Counter(String, u64, u64),
    /// A gauge, with its values as bits, so that a NaN equals itself.
    Gauge(BTreeMap<String, (String, u64)>),
    Timer(String, i64, i64),
    Event(String, String),
}

impl Parts {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut envelope = Writer::new(&mut out);
        envelope
            .timestamp(self.timestamp)
            .source_id(&self.source_id)
            .instance_id(&self.instance_id)
            .tags(&self.tags);
        match &self.payload {
            Payload::Log(payload, stream) => envelope.log(payload, *stream),
            Payload::Counter(name, delta, total) => envelope.counter(name, *delta, *total),
            Payload::Gauge(metrics) => {
                let metrics: Vec<_> = metrics
                    .iter()
                    .map(|(name, (unit, bits))| (name.as_str(), unit.as_str(), f64::from_bits(*bits)))
                    .collect();
                envelope.gauge(&metrics)
            }
            Payload::Timer(name, start, stop) => envelope.timer(name, *start, *stop),
            Payload::Event(title, body) => envelope.event(title, body),
        };
        out
    }

    fn of(envelope: &[u8]) -> Self {
        let view = EnvelopeView::new(envelope);
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Self {
            timestamp: view.timestamp(),
            source_id: view.source_id().to_owned(),
            instance_id: view.instance_id().to_owned(),
            tags: view.tags().map(owned).collect(),
            payload: match view.message() {
                Message::Log { payload, stream } => Payload::Log(payload.to_vec(), stream),
                Message::Counter { name, delta, total } => Payload::Counter(name.to_owned(), delta, total),
                Message::Gauge(metrics) => Payload::Gauge(
                    metrics
                        .map(|metric| (metric.name.to_owned(), (metric.unit.to_owned(), bits(metric.value))))
                        .collect(),
                ),
                Message::Timer { name, start, stop } => Payload::Timer(name.to_owned(), start, stop),
                Message::Event { title, body } => Payload::Event(title.to_owned(), body.to_owned()),
                Message::None => unreachable!("a message always has a payload"),
            },
        }
    }

    /// Returns what RFC 5424 can carry of this envelope (docs/decisions/0007): one envelope for each message.
    fn carried(&self) -> Vec<Self> {
        let with = |payload| Self {
            timestamp: self.timestamp.div_euclid(1000).saturating_mul(1000),
            payload,
            ..self.clone()
        };
        match &self.payload {
            Payload::Log(payload, stream) => {
                let mut text: Vec<u8> = payload.iter().copied().filter(|byte| *byte != 0).collect();
                if text.last() == Some(&b'\n') {
                    text.pop();
                }
                vec![with(Payload::Log(text, *stream))]
            }
            Payload::Gauge(metrics) => metrics
                .iter()
                .map(|(name, value)| with(Payload::Gauge(BTreeMap::from([(name.clone(), value.clone())]))))
                .collect(),
            other => vec![with(other.clone())],
        }
    }
}

/// Returns the bits of a value; every NaN becomes the one that text can carry.
fn bits(value: f64) -> u64 {
    if value.is_nan() {
        f64::NAN.to_bits()
    } else {
        value.to_bits()
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,12}", r#"["\\\]a]{0,6}"#, "\\PC{0,8}", any::<String>()]
}

/// Names as they reach a drain, and longer ones. The name `-` is not among them: RFC 5424 writes it for a field that is
/// absent, so no message can carry it.
fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[!-~]{1,40}", "[a-f0-9-]{36}", "[!-~]{40,300}"].prop_filter("an absent field", |name| name != "-")
}

fn tags() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = prop_oneof![
        "[!#-<>-\\\\^-~]{1,32}",
        Just("app_name".to_owned()),
        Just("organization_name".to_owned()),
    ];
    btree_map(key, text(), 0..6)
}

fn payload() -> impl Strategy<Value = Payload> {
    let line = prop_oneof![vec(any::<u8>(), 0..80), "[ -~\n]{0,80}".prop_map(String::into_bytes)];
    let stream = prop_oneof![Just(Stream::Out), Just(Stream::Err)];
    let value = prop_oneof![any::<f64>(), (-1e6..1e6), Just(0.0)].prop_map(bits);
    prop_oneof![
        (line, stream).prop_map(|(payload, stream)| Payload::Log(payload, stream)),
        (text(), any::<u64>(), any::<u64>()).prop_map(|(name, delta, total)| Payload::Counter(name, delta, total)),
        btree_map(text(), (text(), value), 0..4).prop_map(Payload::Gauge),
        (text(), any::<i64>(), any::<i64>()).prop_map(|(name, start, stop)| Payload::Timer(name, start, stop)),
        (text(), text()).prop_map(|(title, body)| Payload::Event(title, body)),
    ]
}

/// Envelopes that the format can carry, because their tags hold what it cuts off.
fn envelope() -> impl Strategy<Value = Parts> {
    let time = prop_oneof![-1_000_000_000_000..4_000_000_000_000_000_000_i64, any::<i64>()];
    (time, name(), name(), "[ -~]{0,20}", tags(), payload()).prop_map(
        |(timestamp, source_id, instance_id, source_type, mut tags, payload)| {
            tags.insert("source_id".to_owned(), source_id.clone());
            tags.insert("instance_id".to_owned(), instance_id.clone());
            tags.insert("source_type".to_owned(), source_type);
            Parts {
                timestamp,
                source_id,
                instance_id,
                tags,
                payload,
            }
        },
    )
}

/// Decodes a stream in pieces of `step` bytes; returns its messages and faults, in order.
fn decode(framing: Framing, stream: &[u8], step: usize, max_message: usize) -> Vec<Result<Vec<u8>, Fault>> {
    let mut decoder = Decoder::new(framing, max_message);
    let mut held: Vec<u8> = Vec::new();
    let mut found = Vec::new();
    let own = |item: Item<'_>| match item {
        Item::Message(message) => Ok(message.to_vec()),
        Item::Fault(fault) => Err(fault),
    };
    for piece in stream.chunks(step) {
        held.extend_from_slice(piece);
        let mut rest = held.as_slice();
        while let Some(item) = decoder.next(&mut rest) {
            found.push(own(item));
        }
        let left = rest.len();
        held.drain(..held.len() - left);
        assert!(left < decoder.min_buffer());
    }
    found.extend(decoder.finish(&held, true).map(own));
    found
}

/// Bytes that resemble syslog in places.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        vec(any::<u8>(), 0..20),
        prop::sample::select(vec![
            "5 <14>1",
            "\n",
            " ",
            "<",
            ">",
            "14",
            "<14>1 ",
            "- ",
            "1970-01-01T00:00:00Z ",
            "app ",
            "[0] ",
            "[tags@47450",
            " a=\"b\"",
            "]",
            "[gauge@47450 name=\"x\" value=\"1\" unit=\"\"]",
            "\\",
            "\"",
            "999999999 <",
            "77 <14>1 - h a [0] - - ",
            "<14>1 1970-01-01T00:00:00Z h app [a/0] - [tags@47450 k=\"v\"] text",
        ])
        .prop_map(|piece| piece.as_bytes().to_vec()),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Envelopes that are written and read back arrive in order with all that RFC 5424 can carry, however the stream is
    /// cut.
    #[test]
    fn written_envelopes_read_back(
        envelopes in vec(envelope(), 1..6),
        step in prop_oneof![1_usize..40, Just(100_000)],
        host in "[!-~]{0,300}",
    ) {
        let mut formatter = Formatter::new(&host, true);
        let (mut stream, mut ends) = (Vec::new(), Vec::new());
        let mut expected = Vec::new();
        for envelope in &envelopes {
            let count = formatter.write(EnvelopeView::new(&envelope.encode()), Framing::OctetCounted, &mut stream, &mut ends);
            let carried = envelope.carried();
            prop_assert_eq!(count, Ok(u32::try_from(carried.len()).unwrap()));
            expected.extend(carried);
        }
        prop_assert_eq!(ends.len(), expected.len());
        let mut mapper = Mapper::new();
        let mut found = Vec::new();
        for message in decode(Framing::OctetCounted, &stream, step, 1 << 20) {
            let message = message.unwrap();
            let mut envelope = Vec::new();
            mapper.map(&message, 0, &mut envelope).unwrap();
            let mut again = Vec::new();
            to_envelope(&parse(&message).unwrap(), &mut again).unwrap();
            prop_assert_eq!(&envelope, &again);
            prop_assert!(Batch::from_envelope(&envelope).is_ok());
            found.push(Parts::of(&envelope));
        }
        prop_assert_eq!(found, expected);
    }

    /// Every written message is valid RFC 5424 and correctly framed, with every size of the cache.
    #[test]
    fn written_messages_are_well_formed(
        envelopes in vec((text(), text(), btree_map(text(), text(), 0..4), payload()), 1..8),
        hostname in text(),
        metadata: bool,
    ) {
        let mut kept = Formatter::new(&hostname, metadata).with_cached_sources(1);
        for (source_id, instance_id, tags, payload) in envelopes {
            let envelope = Parts { timestamp: 17, source_id, instance_id, tags, payload }.encode();
            let mut written = [Framing::None, Framing::OctetCounted, Framing::NonTransparent].map(|framing| {
                let (mut text, mut ends) = (Vec::new(), Vec::new());
                let result = kept.write(EnvelopeView::new(&envelope), framing, &mut text, &mut ends);
                let mut fresh = (Vec::new(), Vec::new());
                let again = Formatter::new(&hostname, metadata).write(EnvelopeView::new(&envelope), framing, &mut fresh.0, &mut fresh.1);
                assert_eq!((&result, &text, &ends), (&again, &fresh.0, &fresh.1));
                (result, text, ends)
            });
            let (result, text, ends) = std::mem::replace(&mut written[0], (Ok(0), Vec::new(), Vec::new()));
            let Ok(count) = result else {
                prop_assert!(text.is_empty() && ends.is_empty());
                continue;
            };
            prop_assert_eq!(ends.len(), count as usize);
            prop_assert_eq!(ends.last().map_or(0, |end| *end as usize), text.len());
            let mut start = 0;
            let mut messages = Vec::new();
            for end in ends {
                let message = &text[start..end as usize];
                prop_assert!(message.ends_with(b"\n"));
                prop_assert!(parse(message).is_ok(), "{:?}", parse(message));
                for element in parse(message).unwrap().data.elements() {
                    for parameter in element.parameters() {
                        prop_assert!((1..=32).contains(&parameter.name.len()), "{}", parameter.name);
                    }
                }
                messages.push(Ok(message.to_vec()));
                start = end as usize;
            }
            prop_assert_eq!(&decode(Framing::OctetCounted, &written[1].1, 1 << 20, 1 << 20), &messages);
            prop_assert_eq!(decode(Framing::NonTransparent, &written[2].1, 1 << 20, 1 << 20).len(), messages.len());
        }
    }

    /// Arbitrary bytes cause no panic; the mapper accepts only messages that `parse` accepts and makes valid envelopes
    /// of them; and the messages do not depend on the pieces in which the bytes come.
    #[test]
    fn arbitrary_streams_stay_in_bounds(bytes in noise(), step in 1_usize..9, octets: bool, max_message in 1_usize..80) {
        let framing = if octets { Framing::OctetCounted } else { Framing::NonTransparent };
        let whole = decode(framing, &bytes, 1 << 20, max_message);
        prop_assert_eq!(&decode(framing, &bytes, step, max_message), &whole);
        let mut mapper = Mapper::new();
        for message in whole.iter().flatten().map(Vec::as_slice).chain([bytes.as_slice()]) {
            prop_assert!(message.len() <= max_message || message == bytes.as_slice());
            let mut envelope = b"before".to_vec();
            let mapped = mapper.map(message, 17, &mut envelope);
            let parsed = parse(message);
            match mapped {
                Ok(()) => {
                    prop_assert!(parsed.is_ok());
                    prop_assert!(Batch::from_envelope(&envelope[6..]).is_ok());
                }
                Err(Refused::Malformed(_)) => {
                    prop_assert!(parsed.is_err());
                    prop_assert_eq!(&envelope, b"before");
                }
                Err(Refused::Unmappable(_)) => prop_assert_eq!(&envelope, b"before"),
            }
        }
    }

    /// Arbitrary bytes in place of an envelope cause no panic in the formatter.
    #[test]
    fn arbitrary_envelopes_are_written_or_refused(bytes in vec(any::<u8>(), 0..200), metadata: bool) {
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        let mut formatter = Formatter::new("h", metadata);
        let written = formatter.write(EnvelopeView::new(&bytes), Framing::OctetCounted, &mut text, &mut ends);
        prop_assert_eq!(written.unwrap_or_default() as usize, ends.len());
    }
}
