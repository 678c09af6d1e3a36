//! Tests of the texts that `weir tail` and `weir recent` print.

use std::collections::BTreeMap;

use prost::Message as _;
use weir_proto::loggregator_v2::{
    Counter, Envelope, Event, Gauge, GaugeValue, Log, Timer, Value, envelope::Message, value::Data,
};

use super::*;

fn log(payload: &'static [u8], kind: i32) -> Envelope {
    Envelope {
        timestamp: 1_767_431_472_345_678_901,
        source_id: "web".to_owned(),
        instance_id: "2".to_owned(),
        tags: BTreeMap::from([("source_type".to_owned(), "APP/PROC/WEB".to_owned())]),
        message: Some(Message::Log(Log {
            payload: payload.into(),
            r#type: kind,
        })),
        ..Envelope::default()
    }
}

/// Returns the text of an envelope after its time stamp, which depends on the local time zone.
fn text(envelope: &Envelope, style: Style) -> String {
    let mut bytes = Vec::new();
    assert!(super::envelope(
        EnvelopeView::new(&envelope.encode_to_vec()),
        style,
        &mut bytes
    ));
    let text = String::from_utf8(bytes).expect("text");
    text.split_once(' ').expect("a time stamp").1.to_owned()
}

#[test]
fn logs_look_as_in_the_cf_cli() {
    assert_eq!(
        text(&log(b"hello", 0), Style::default()),
        "[APP/PROC/WEB/2] OUT hello\n"
    );
    assert_eq!(text(&log(b"", 1), Style::default()), "[APP/PROC/WEB/2] ERR \n");
    assert_eq!(
        text(
            &log(b"x", 0),
            Style {
                source: true,
                ..Style::default()
            }
        ),
        "web [APP/PROC/WEB/2] OUT x\n"
    );
}

/// Bodies are printed byte for byte, even if they are no UTF-8 or have control characters.
#[test]
fn bodies_are_unchanged() {
    let mut bytes = Vec::new();
    let encoded = log(b"\xff\x1b[1m\r", 0).encode_to_vec();
    super::envelope(
        EnvelopeView::new(&encoded),
        Style {
            form: Form::Body,
            ..Style::default()
        },
        &mut bytes,
    );
    assert_eq!(bytes, b"\xff\x1b[1m\r\n");
    bytes.clear();
    super::envelope(EnvelopeView::new(&encoded), Style::default(), &mut bytes);
    assert!(bytes.ends_with(b"[APP/PROC/WEB/2] OUT \xff\x1b[1m\r\n"));
}

/// On a terminal, names that a producer chose are neutralized; our colours around them are kept.
#[test]
fn producer_names_are_neutralized() {
    let mut envelope = log(b"\x1b[1m", 0);
    envelope.source_id = "we\u{1b}b".to_owned();
    envelope.instance_id = "\r2".to_owned();
    let style = Style {
        source: true,
        neutral: true,
        ..Style::default()
    };
    assert_eq!(text(&envelope, style), "we␛b [APP/PROC/WEB/␍2] OUT \x1b[1m\n");
    envelope.message = Some(Message::Event(Event {
        title: "\u{202e}title".to_owned(),
        body: "\u{9b}body".to_owned(),
    }));
    let coloured = Style {
        source: false,
        colour: true,
        ..style
    };
    assert_eq!(
        text(&envelope, coloured),
        "\x1b[36m[APP/PROC/WEB/␍2]\x1b[0m \x1b[34mEVENT \u{fffd}title: \u{fffd}body\x1b[0m\n"
    );
}

/// Metrics show their values, units and tags; deprecated tags are shown as tags.
#[test]
fn metrics_and_events_show_values_and_tags() {
    let of = |message| Envelope {
        source_id: "doppler".to_owned(),
        tags: BTreeMap::from([("job".to_owned(), "cell".to_owned())]),
        deprecated_tags: BTreeMap::from([(
            "index".to_owned(),
            Value {
                data: Some(Data::Integer(3)),
            },
        )]),
        message: Some(message),
        ..Envelope::default()
    };
    let tags = r#" {index="3", job="cell"}"#;
    let metric = |unit: &str, value| GaugeValue {
        unit: unit.to_owned(),
        value,
    };
    let gauge = Gauge {
        metrics: BTreeMap::from([
            ("cpu".to_owned(), metric("percentage", 1.5)),
            ("n".to_owned(), metric("", 2.0)),
        ]),
    };
    for (message, expected) in [
        (
            Message::Counter(Counter {
                name: "ingress".to_owned(),
                delta: 2,
                total: 7,
            }),
            "COUNTER ingress=7 (+2)",
        ),
        (Message::Gauge(gauge), "GAUGE cpu=1.5 percentage, n=2"),
        (
            Message::Timer(Timer {
                name: "http".to_owned(),
                start: 10,
                stop: 1_500_010,
            }),
            "TIMER http 1.500 ms",
        ),
        (
            Message::Event(Event {
                title: "crash".to_owned(),
                body: "one\ntwo\n".to_owned(),
            }),
            "EVENT crash: one | two",
        ),
    ] {
        assert_eq!(text(&of(message), Style::default()), format!("[-] {expected}{tags}\n"));
    }
}

/// The form `Body` leaves out envelopes that have no body.
#[test]
fn bodies_leave_metrics_out() {
    let counter = Envelope {
        message: Some(Message::Counter(Counter::default())),
        ..Envelope::default()
    };
    let mut bytes = Vec::new();
    let shown = super::envelope(
        EnvelopeView::new(&counter.encode_to_vec()),
        Style {
            form: Form::Body,
            ..Style::default()
        },
        &mut bytes,
    );
    assert!(!shown && bytes.is_empty());
}

/// Colours are around our words, never inside the body.
#[test]
fn colours_leave_the_body_alone() {
    let painted = text(
        &log(b"hello", 1),
        Style {
            colour: true,
            ..Style::default()
        },
    );
    assert_eq!(painted, "\x1b[36m[APP/PROC/WEB/2]\x1b[0m \x1b[31mERR\x1b[0m hello\n");
}
