use weir_envelope::json::write_envelope;
use weir_envelope::view::{EnvelopeView, Message as Payload, Stream};

use super::*;

const HEAD: &str = "<14>1 1970-01-01T00:00:00.012345+00:00 test-hostname test-app-id";

/// Converts a message with `to_envelope` and twice with one `Mapper`, whose cache knows the source the second time.
fn map(text: &str) -> Result<Vec<u8>, Refused> {
    let mut mapper = Mapper::new();
    let mapped = |mapper: &mut Mapper| {
        let mut out = b"before".to_vec();
        let result = mapper.map(text.as_bytes(), 0, &mut out);
        assert!(result.is_ok() || out == b"before");
        result.map(|()| out.split_off(6))
    };
    let first = mapped(&mut mapper);
    assert_eq!(mapped(&mut mapper), first);
    if let Ok(message) = read::parse(text.as_bytes())
        && message.header.timestamp.is_some()
    {
        let mut out = Vec::new();
        let result = to_envelope(&message, &mut out).map(|()| out);
        assert_eq!(result.map_err(Refused::Unmappable), first);
    }
    first
}

fn json(text: &str) -> String {
    let envelope = map(text).unwrap();
    let mut out = Vec::new();
    write_envelope(&EnvelopeView::new(&envelope), &mut out);
    String::from_utf8(out).unwrap()
}

/// Messages from the original's tests become envelopes of every kind.
#[test]
fn every_kind_of_payload_is_converted() {
    let start = r#"{"timestamp":"12345000","source_id":"test-app-id""#;
    for (rest, expected) in [
        (
            "[APP/2] - [tags@47450 key=\"value\" source_type=\"actual-source-type\"] just a test\n",
            r#""instance_id":"2","deprecated_tags":{},"tags":{"key":"value","source_type":"actual-source-type"},"log":{"payload":"anVzdCBhIHRlc3Q=","type":"OUT"}}"#,
        ),
        (
            "[APP/1] - [counter@47450 name=\"test\" total=\"10\" delta=\"5\"][tags@47450 key=\"value\"] \n",
            r#""instance_id":"1","deprecated_tags":{},"tags":{"key":"value"},"counter":{"name":"test","delta":"5","total":"10"}}"#,
        ),
        (
            "[APP/3] - [gauge@47450 name=\"cpu\" value=\"0.23\" unit=\"percentage\"] \n",
            r#""instance_id":"3","deprecated_tags":{},"tags":{},"gauge":{"metrics":{"cpu":{"unit":"percentage","value":0.23}}}}"#,
        ),
        (
            "[APP/2] - [event@47450 title=\"event-title\" body=\"event-body\"] \n",
            r#""instance_id":"2","deprecated_tags":{},"tags":{},"event":{"title":"event-title","body":"event-body"}}"#,
        ),
        (
            "[APP/2] - [tags@47450 k=\"v\"][timer@47450 name=\"some-name\" start=\"10\" stop=\"20\"] \n",
            r#""instance_id":"2","deprecated_tags":{},"tags":{"k":"v"},"timer":{"name":"some-name","start":"10","stop":"20"}}"#,
        ),
    ] {
        assert_eq!(json(&format!("{HEAD} {rest}")), format!("{start},{expected}"));
    }
}

/// Only the newline that the formatter adds is removed from a line.
#[test]
fn lines_are_not_trimmed() {
    for (text, expected) in [
        ("  a test  \n", &b"  a test  "[..]),
        ("\t\n\n", b"\t\n"),
        ("no newline", b"no newline"),
        ("\n", b""),
        ("", b""),
        ("\u{feff}bom\r\n", "\u{feff}bom\r".as_bytes()),
    ] {
        for (priority, expected_stream) in [
            ("14", Stream::Out),
            ("11", Stream::Err),
            ("-1", Stream::Out),
            ("0", Stream::Out),
        ] {
            let envelope = map(&format!("<{priority}>1 1970-01-01T00:00:00Z h app [0] - - {text}")).unwrap();
            match EnvelopeView::new(&envelope).message() {
                Payload::Log { payload, stream } => assert_eq!((payload, stream), (expected, expected_stream)),
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn instance_ids_are_taken_from_tags_that_agree_with_procid() {
    let instance = |process_id: &str, rest: &str| {
        let envelope = map(&format!("<14>1 1970-01-01T00:00:00Z h app {process_id} - {rest}")).unwrap();
        EnvelopeView::new(&envelope).instance_id().to_owned()
    };
    let long = "i".repeat(200);
    let cut = |start: &str, len: usize| format!("{start}{}]", &long[..len]);
    for (process_id, rest, expected) in [
        // Without tags, the instance id is the part behind the last slash.
        ("[APP/PROC/WEB/0]", "- x", "0"),
        ("[RTR/1]", "- x", "1"),
        ("[0]", "- x", "0"),
        ("[]", "- x", ""),
        ("7", "- x", "7"),
        ("[[a/b]]", "- x", "b"),
        ("[APP/]", "- x", ""),
        // With a source type, it is the part behind the type.
        ("[APP/PROC/WEB]", "[tags@47450 source_type=\"APP/PROC/WEB\"] x", ""),
        (
            "[APP/PROC/WEB/a/b]",
            "[tags@47450 source_type=\"app/proc/web\"] x",
            "a/b",
        ),
        ("[APP/PROC/WEB/a]", "[tags@47450 source_type=\"APP\"] x", "PROC/WEB/a"),
        ("[APP/PROC/WEB/a]", "[tags@47450 source_type=\"RTR\"] x", "a"),
        ("[MY-TASK/2]", "[tags@47450 source_type=\"MY TASK\"] x", "2"),
        ("[/2]", "[tags@47450 source_type=\"ä\"] x", "2"),
        ("[", "[tags@47450 source_type=\"\"] x", ""),
        ("x", "[tags@47450 source_type=\"\"] x", "x"),
        // With an instance id that agrees with PROCID, it is the tag.
        (
            "[APP/a/b]",
            "[tags@47450 instance_id=\"b\" source_type=\"APP/a\"] x",
            "b",
        ),
        (
            "[APP/a/b]",
            "[tags@47450 instance_id=\"a/b\" source_type=\"APP\"] x",
            "a/b",
        ),
        ("[APP/1]", "[tags@47450 instance_id=\"2\" source_type=\"APP\"] x", "1"),
        (
            "[a/b]",
            "[tags@47450 instance_id=\"a/b\"][counter@47450 total=\"1\" delta=\"1\"] ",
            "a/b",
        ),
        ("[a/b]", "[counter@47450 total=\"1\" delta=\"1\"] ", "b"),
        (
            "[a/b]",
            "[counter@47450 total=\"1\" delta=\"1\"][tags@47450 source_type=\"a\"] ",
            "b",
        ),
    ] {
        assert_eq!(instance(process_id, rest), expected, "{process_id} {rest}");
    }
    let tags = format!("[tags@47450 instance_id=\"{long}\" source_type=\"RTR\"]");
    assert_eq!(instance(&cut("[RTR/", 122), &format!("{tags} x")), long);
    assert_eq!(instance(&cut("[RTR/", 121), &format!("{tags} x")), long[..121]);
    let metric = format!("{tags}[event@47450]");
    assert_eq!(instance(&format!("[{}", &long[..127]), &metric), long);
}

#[test]
fn a_cut_source_id_is_completed_from_its_tag() {
    let source = |app_name: &str, tag: &str| {
        let text = format!("<14>1 1970-01-01T00:00:00Z h {app_name} [0] - [tags@47450 source_id=\"{tag}\"] x");
        let envelope = map(&text).unwrap();
        EnvelopeView::new(&envelope).source_id().to_owned()
    };
    let (cut, long) = ("s".repeat(48), "s".repeat(300));
    assert_eq!(source(&cut, &long), long);
    assert_eq!(source(&cut, "other"), cut);
    assert_eq!(source(&cut[1..], &long), cut[1..]);
    assert_eq!(source(&long, "other"), long);
}

/// A source id longer than an envelope may have is refused, as the next component would refuse the envelope.
#[test]
fn source_ids_that_are_too_long_are_refused() {
    let message = |len: usize| {
        let (cut, long) = ("s".repeat(48), "s".repeat(len));
        let tag = format!("<14>1 1970-01-01T00:00:00Z h {cut} [0] - [tags@47450 source_id=\"{long}\"] x");
        [format!("<14>1 1970-01-01T00:00:00Z h {long} [0] - - x"), tag]
    };
    for text in message(4096) {
        assert!(weir_envelope::batch::Batch::from_envelope(&map(&text).unwrap()).is_ok());
    }
    for text in message(4097) {
        assert_eq!(map(&text), Err(Unmappable::SourceId.into()));
    }
}

#[test]
fn messages_that_are_no_envelope_are_refused() {
    for (rest, why) in [
        ("- [APP/2] - - x", Unmappable::AppName),
        ("app - - - x", Unmappable::ProcessId),
        ("app [0] - -", Unmappable::Empty),
        ("app [0] - [tags@47450]", Unmappable::Empty),
        ("app [0] - [else@47450] x", Unmappable::Element),
        ("app [0] - [counter@47450 total=\"1\" delta=\"d\"] ", Unmappable::Number),
        (
            "app [0] - [counter@47450 total=\"-1\" delta=\"1\"] ",
            Unmappable::Number,
        ),
        ("app [0] - [counter@47450 total=\"1\"] ", Unmappable::Number),
        ("app [0] - [gauge@47450 value=\"1\"] ", Unmappable::Unit),
        ("app [0] - [gauge@47450 value=\"x\" unit=\"\"] ", Unmappable::Number),
        ("app [0] - [timer@47450 start=\"1\" stop=\"\"] ", Unmappable::Number),
        (
            "app [0] - [gauge@47450 value=\"1\" unit=\"\"][event@1] ",
            Unmappable::Repeated,
        ),
        ("app [0] - [tags@47450 a=\"b\"][tags@1] x", Unmappable::Repeated),
    ] {
        let found = map(&format!("<14>1 1970-01-01T00:00:00Z h {rest}"));
        assert_eq!(found, Err(why.into()), "{rest}");
    }
    for (text, at) in [
        ("<14>1 - h app [0] - [a", 22),
        ("<14>1 - h app [0] - [tags@1][b =]", 31),
    ] {
        match map(text) {
            Err(Refused::Malformed(error)) => assert_eq!(error.at, at, "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

/// A message without a time stamp gets the time of its arrival.
#[test]
fn a_missing_time_stamp_is_the_time_of_arrival() {
    let mut out = Vec::new();
    Mapper::new().map(b"<14>1 - h app [0] - - x", 17, &mut out).unwrap();
    assert_eq!(EnvelopeView::new(&out).timestamp(), 17);
    let message = read::parse(b"<14>1 - h app [0] - - x").unwrap();
    assert_eq!(to_envelope(&message, &mut out), Err(Unmappable::Timestamp));
}

/// A cached identity is used only for its own source and tags.
#[test]
fn the_cache_does_not_mix_sources_up() {
    let mut cached = Mapper::new();
    let tags = [
        "-",
        "[tags@47450 a=\"b\"]",
        "[tags@47450 a=\"b\" c=\"d\"]",
        "[tags@47450]",
        "[tags@47450x]",
    ];
    for _ in 0..3 {
        for source in ["a", "aa"] {
            for process_id in ["a", "[a]", "[a/b]"] {
                for tags in tags {
                    for metric in ["", "[event@47450 title=\"t\"]"] {
                        let data = if tags == "-" && !metric.is_empty() { "" } else { tags };
                        for data in [format!("{data}{metric}"), format!("{metric}{data}")] {
                            let text = format!("<14>1 1970-01-01T00:00:00Z h {source} {process_id} - {data} x");
                            let mut out = Vec::new();
                            let kept = cached.map(text.as_bytes(), 0, &mut out).map(|()| out);
                            let mut out = Vec::new();
                            let fresh = Mapper::new().map(text.as_bytes(), 0, &mut out).map(|()| out);
                            assert_eq!(kept, fresh, "{text}");
                        }
                    }
                }
            }
        }
    }
}
