use weir_envelope::encode::Writer;
use weir_envelope::wire::{put_bytes, put_varint};

use super::*;

/// Returns the messages of an envelope, and checks that a failure appends nothing.
fn write(formatter: &mut Formatter, envelope: &[u8], framing: Framing) -> Result<Vec<Vec<u8>>, Unconvertible> {
    let (mut out, mut ends) = (b"before".to_vec(), vec![6]);
    let written = formatter.write(EnvelopeView::new(envelope), framing, &mut out, &mut ends);
    if written.is_err() {
        assert_eq!((out.as_slice(), ends.as_slice()), (&b"before"[..], &[6][..]));
    }
    let count = written?;
    assert_eq!(ends.len(), count as usize + 1);
    assert_eq!(ends.last().copied(), u32::try_from(out.len()).ok());
    Ok(ends
        .windows(2)
        .map(|pair| out[pair[0] as usize..pair[1] as usize].to_vec())
        .collect())
}

fn envelope(build: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut envelope = Vec::new();
    build(Writer::new(&mut envelope).source_id("app").instance_id("0"));
    envelope
}

fn texts(formatter: &mut Formatter, build: impl FnOnce(&mut Writer<'_>)) -> Vec<String> {
    let messages = write(formatter, &envelope(build), Framing::None).unwrap();
    messages
        .iter()
        .map(|message| String::from_utf8_lossy(message).into_owned())
        .collect()
}

fn refused(hostname: &str, build: impl FnOnce(&mut Writer<'_>)) -> Unconvertible {
    write(&mut Formatter::new(hostname, true), &envelope(build), Framing::None).unwrap_err()
}

/// NUL bytes are removed, and a newline is added where there is none at the end; the payload is otherwise unchanged.
#[test]
fn payloads_end_with_a_newline() {
    let mut formatter = Formatter::new("", false);
    for (payload, text) in [
        (&b"line"[..], &b"line\n"[..]),
        (b"line\n", b"line\n"),
        (b"line\n\n", b"line\n\n"),
        (b" a\nb \t", b" a\nb \t\n"),
        (b"a\0b\0", b"ab\n"),
        (b"a\n\0", b"a\n"),
        (b"\0", b"\n"),
        (b"", b"\n"),
        (b"\xff\xfe", b"\xff\xfe\n"),
    ] {
        let envelope = envelope(|envelope| {
            envelope.log(payload, Stream::Out);
        });
        let messages = write(&mut formatter, &envelope, Framing::None).unwrap();
        let expected = [b"<14>1 1970-01-01T00:00:00+00:00 - app [/0] - - ", text].concat();
        assert_eq!(messages, [expected]);
    }
}

/// A log whose type is neither OUT nor ERR has the priority of OUT, also if its number exceeds 32 bits.
#[test]
fn unknown_types_have_the_priority_of_out() {
    let mut formatter = Formatter::new("", false);
    for (number, priority) in [
        (0, "<14>1 "),
        (1, "<11>1 "),
        (2, "<14>1 "),
        (u64::MAX, "<14>1 "),
        (1 << 32, "<14>1 "),
        (1 << 32 | 1, "<11>1 "),
    ] {
        let mut log = vec![0x10];
        put_varint(&mut log, number);
        let mut envelope = Vec::new();
        put_bytes(&mut envelope, LOG, &log);
        let messages = write(&mut formatter, &envelope, Framing::None).unwrap();
        assert!(messages[0].starts_with(priority.as_bytes()), "{number}");
    }
}

#[test]
fn a_gauge_is_one_message_per_metric() {
    let mut formatter = Formatter::new("", true);
    let metrics = [("b", "x", 1.0), ("a", "", 0.5), ("b", "y", 1e6)];
    let messages = texts(&mut formatter, |envelope| {
        envelope.gauge(&metrics).tag("k", "v");
    });
    // A map has one value for each key.
    let start = "<14>1 1970-01-01T00:00:00+00:00 - app [0] - [gauge@47450 name";
    assert_eq!(
        messages,
        [
            format!("{start}=\"a\" value=\"0.5\" unit=\"\"][tags@47450 k=\"v\"] \n"),
            format!("{start}=\"b\" value=\"1e+06\" unit=\"y\"][tags@47450 k=\"v\"] \n"),
        ]
    );
    assert!(
        texts(&mut formatter, |envelope| {
            envelope.gauge(&[]);
        })
        .is_empty()
    );
    assert!(texts(&mut formatter, |_| {}).is_empty());
}

#[test]
fn host_names_come_from_the_tags_or_the_binding() {
    let host = |binding: &str, tags: &[(&str, &str)]| {
        let messages = texts(&mut Formatter::new(binding, false), |envelope| {
            envelope.tags(tags.iter().copied()).log(b"", Stream::Out);
        });
        messages[0].split(' ').nth(2).unwrap().to_owned()
    };
    assert_eq!(host("o.s.a", &[]), "o.s.a");
    assert_eq!(host("", &[]), "-");
    assert_eq!(host("o.s.a", &[("app_name", "b c")]), "..b-c");
    assert_eq!(host("ä", &[("organization_name", ""), ("space_name", "x")]), ".x.");
    assert_eq!(host(&"h".repeat(300), &[]), "h".repeat(255));
    // If a tag occurs twice, the last one counts.
    assert_eq!(host("", &[("app_name", "a"), ("app_name", "b")]), "..b");
}

#[test]
fn an_envelope_without_a_form_appends_nothing() {
    let log = |envelope: &mut Writer<'_>| {
        envelope.log(b"x", Stream::Out);
    };
    assert_eq!(refused("a b", log), Unconvertible::Hostname);
    assert_eq!(refused("ä", log), Unconvertible::Hostname);
    assert_eq!(refused("", |e| log(e.source_id("  "))), Unconvertible::SourceId);
    assert_eq!(refused("", |e| log(e.instance_id("\u{7f}"))), Unconvertible::InstanceId);
    for name in ["a b", "a=", "a]", "\"", "ä", "\0"] {
        assert_eq!(refused("", |e| log(e.tag(name, ""))), Unconvertible::TagName);
        let mut without = Formatter::new("", false);
        assert_eq!(texts(&mut without, |e| log(e.tag(name, ""))).len(), 1);
    }
    // The gauge's other metrics are not appended either. Bytes behind the cut are not checked.
    assert_eq!(
        refused("", |e| {
            e.gauge(&[("a", "", 1.0)]).tag(" ", "");
        }),
        Unconvertible::TagName
    );
    let long = format!("{}ä", "a".repeat(255));
    let messages = texts(&mut Formatter::new(&long, true), |e| {
        log(e.source_id(&format!("{}ä", "s".repeat(48))).instance_id(&long));
    });
    assert!(messages[0].contains(&format!(" {} [/", "s".repeat(48))));
    // A formatter that has refused an envelope still writes the next one.
    let mut formatter = Formatter::new("", true);
    let bad = envelope(|e| log(e.tag(" ", "")));
    for _ in 0..2 {
        assert!(write(&mut formatter, &bad, Framing::None).is_err());
        assert_eq!(texts(&mut formatter, log).len(), 1);
    }
}

/// A gauge whose tags, repeated for each metric, would exceed the limit is refused.
#[test]
fn a_gauge_that_would_exceed_the_limit_is_refused() {
    let names: Vec<String> = (0..1000).map(|name| name.to_string()).collect();
    let metrics: Vec<(&str, &str, f64)> = names.iter().map(|name| (name.as_str(), "", 0.0)).collect();
    let long = "v".repeat(100_000);
    assert_eq!(
        refused("", |e| {
            e.gauge(&metrics).tag("k", &long);
        }),
        Unconvertible::TooLarge
    );
}

#[test]
fn framing_changes_nothing_within_the_message() {
    let mut formatter = Formatter::new("", true);
    let event = envelope(|envelope| {
        envelope.event("a\nb", "\n").tag("k", "\n");
    });
    let bare = write(&mut formatter, &event, Framing::None).unwrap().remove(0);
    let counted = write(&mut formatter, &event, Framing::OctetCounted).unwrap().remove(0);
    assert_eq!(counted, [format!("{} ", bare.len()).as_bytes(), &bare].concat());
    let line = write(&mut formatter, &event, Framing::NonTransparent)
        .unwrap()
        .remove(0);
    let (ended, spaces) = (line.strip_suffix(b"\n").unwrap(), bare.strip_suffix(b"\n").unwrap());
    assert!(!ended.contains(&b'\n'));
    assert!(
        ended
            .iter()
            .zip(spaces)
            .all(|(line, bare)| line == bare || (*line, *bare) == (b' ', b'\n'))
    );
}

/// The cached head of one source is never used for another: envelopes with every combination of the parts of a head are
/// written twice with the smallest cache, and each result equals that of a new formatter.
#[test]
fn the_cache_does_not_mix_sources_up() {
    let mut cached = Formatter::new("host", true).with_cached_sources(1);
    let tags: [&[(&str, &str)]; 4] = [
        &[],
        &[("source_type", "APP")],
        &[("source_type", "RTR")],
        &[("app_name", "a")],
    ];
    for _ in 0..2 {
        for source in ["", "a", "aa"] {
            for instance in ["", "a", "aa"] {
                for tags in tags {
                    for log in [true, false] {
                        let mut envelope = Vec::new();
                        let mut writer = Writer::new(&mut envelope);
                        writer
                            .source_id(source)
                            .instance_id(instance)
                            .tags(tags.iter().copied());
                        if log {
                            writer.log(b"x", Stream::Out);
                        } else {
                            writer.counter("c", 1, 2);
                        }
                        let fresh = write(&mut Formatter::new("host", true), &envelope, Framing::None);
                        for _ in 0..2 {
                            assert_eq!(write(&mut cached, &envelope, Framing::None), fresh);
                        }
                    }
                }
            }
        }
    }
}

/// Tags that are too long for the cache are written nevertheless.
#[test]
fn large_tags_are_written_without_the_cache() {
    let mut formatter = Formatter::new("", true);
    for value in ["x".repeat(5000), "y".repeat(5000), "x".repeat(5000)] {
        let messages = texts(&mut formatter, |e| {
            e.tag("k", &value).log(b"m", Stream::Out);
        });
        assert!(messages[0].ends_with(&format!("[tags@47450 k=\"{value}\"] m\n")));
    }
}

/// The hint of an error says what to do about it.
#[test]
fn refusals_have_hints() {
    for error in [Unconvertible::Hostname, Unconvertible::SourceId, Unconvertible::TagName] {
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.hint().is_some() && !error.to_string().ends_with('.'));
    }
}
