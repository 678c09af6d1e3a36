use super::*;

const FULL: &str = "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 12 ID47 \
                    [exampleSDID@32473 iut=\"3\" eventSource=\"Application\" eventID=\"1011\"][x@1] BOMAn application event";

#[test]
fn a_message_has_all_its_parts() {
    let message = parse(FULL.as_bytes()).unwrap();
    assert_eq!(
        message.header,
        Header {
            priority: 165,
            version: 1,
            timestamp: Some(1_065_910_455_003_000_000),
            hostname: Some("mymachine.example.com"),
            app_name: Some("evntslog"),
            process_id: Some("12"),
            message_id: Some("ID47"),
        }
    );
    let ids: Vec<_> = message.data.elements().map(|element| element.id).collect();
    assert_eq!(ids, ["exampleSDID@32473", "x@1"]);
    let first = message.data.element("exampleSDID@32473").unwrap();
    let parameters: Vec<_> = first.parameters().map(|found| (found.name, found.value())).collect();
    assert_eq!(
        parameters,
        [
            ("iut", "3".into()),
            ("eventSource", "Application".into()),
            ("eventID", "1011".into())
        ]
    );
    assert_eq!(first.value("eventSource").as_deref(), Some("Application"));
    assert_eq!(first.value("nothing"), None);
    assert_eq!(message.text, Some(&b"BOMAn application event"[..]));
}

#[test]
fn every_optional_part_may_be_missing() {
    let message = parse(b"<0>1 - - - - - -").unwrap();
    assert_eq!(message.header.timestamp, None);
    assert_eq!(message.header.hostname, None);
    assert_eq!(message.data, StructuredData::default());
    assert_eq!(message.data.elements().count(), 0);
    assert_eq!(message.text, None);
    assert_eq!(parse(b"<0>1 - - - - - - ").unwrap().text, Some(&b""[..]));
    assert_eq!(parse(b"<0>1 - - - - - -  \n\xff").unwrap().text, Some(&b" \n\xff"[..]));
}

/// Names and fractions of a second may be longer than RFC 5424 allows, as common senders write them so.
#[test]
fn fields_longer_than_the_rfc_allows_are_read() {
    let long = "n".repeat(300);
    let text =
        format!("<-1>1 2003-10-11T22:14:15.123456789Z {long} {long} {long} {long} [{long} {long}=\"{long}\" =\"\"]");
    let message = parse(text.as_bytes()).unwrap();
    assert_eq!(message.header.priority, -1);
    assert_eq!(
        message.header.timestamp.map(|nanos| nanos % 1_000_000_000),
        Some(123_456_789)
    );
    assert_eq!(message.header.app_name, Some(long.as_str()));
    let element = message.data.element(&long).unwrap();
    assert_eq!(element.value(&long), Some(long.as_str().into()));
    assert_eq!(element.value(""), Some("".into()));
}

#[test]
fn escapes_are_undone() {
    for (raw, value) in [
        (r#"\"\\\]"#, r#""\]"#),
        (r"a\b\\n", r"a\b\n"),
        (r"\\", r"\"),
        (r"\\\\", r"\\"),
        ("ä\\]ö", "ä]ö"),
        ("\n\t\0", "\n\t\0"),
        ("", ""),
    ] {
        let text = format!("<0>1 - - - - - [a b=\"{raw}\"]");
        let message = parse(text.as_bytes()).unwrap();
        assert_eq!(message.data.element("a").unwrap().value("b").as_deref(), Some(value));
    }
}

#[test]
fn errors_name_the_offset_of_the_fault() {
    for (text, part, at) in [
        (&b""[..], Part::Priority, 0),
        (b"14>1", Part::Priority, 0),
        (b"<>1 ", Part::Priority, 1),
        (b"<192>1 ", Part::Priority, 1),
        (b"<014>1 ", Part::Priority, 1),
        (b"<1000>1 ", Part::Priority, 1),
        (b"<-2>1 ", Part::Priority, 1),
        (b"<14", Part::Priority, 1),
        (b"<14>", Part::Version, 4),
        (b"<14>0 ", Part::Version, 4),
        (b"<14>1", Part::Version, 4),
        (b"<14>1000 ", Part::Version, 4),
        (b"<14> 1 ", Part::Version, 4),
        (b"<14>1 yesterday - - - - -", Part::Timestamp, 6),
        (b"<14>1  - - - - -", Part::Timestamp, 6),
        (b"<14>1 - h\xc3\xb6 - - - -", Part::Hostname, 9),
        (b"<14>1 -  - - - -", Part::Hostname, 8),
        (b"<14>1 - - a\x7f - - -", Part::AppName, 11),
        (b"<14>1 - - -", Part::AppName, 11),
        (b"<14>1 - - - \n - -", Part::ProcessId, 12),
        (b"<14>1 - - - - -", Part::MessageId, 15),
        (b"<14>1 - - - - - ", Part::Data, 16),
        (b"<14>1 - - - - - x", Part::Data, 16),
        (b"<14>1 - - - - - -x", Part::Data, 17),
        (b"<14>1 - - - - - [a]x", Part::Data, 19),
        (b"<14>1 - - - - - []", Part::ElementId, 17),
        (b"<14>1 - - - - - [ a]", Part::ElementId, 17),
        (b"<14>1 - - - - - [a", Part::Parameter, 18),
        (b"<14>1 - - - - - [a=]", Part::Parameter, 18),
        (b"<14>1 - - - - - [a ]", Part::Parameter, 19),
        (b"<14>1 - - - - - [a b]", Part::Parameter, 20),
        (b"<14>1 - - - - - [a b=c]", Part::Parameter, 20),
        (b"<14>1 - - - - - [a b=\"c\"  d=\"\"]", Part::Parameter, 25),
        (b"<14>1 - - - - - [a b=\"c\"d=\"\"]", Part::Parameter, 24),
        (b"<14>1 - - - - - [a b=\"]\"]", Part::Value, 22),
        (b"<14>1 - - - - - [a b=\"\\\"]", Part::Value, 24),
        (b"<14>1 - - - - - [a b=\"c", Part::Value, 23),
        (b"<14>1 - - - - - [a b=\"\xff\"]", Part::Value, 22),
        (b"<14>1 - - - - - [a][b][a]", Part::RepeatedElement, 22),
    ] {
        let shown = String::from_utf8_lossy(text);
        assert_eq!(parse(text), Err(ParseError { part, at }), "{shown}");
    }
    let error = parse(b"<14>1 x ").unwrap_err();
    assert_eq!(error.to_string(), "time stamp is neither RFC 3339 nor `-` at byte 6");
    assert!(error.hint().is_some());
}

/// Thousands of elements are read, and a repeated name among them is found.
#[test]
fn elements_may_be_many() {
    let mut text = "<0>1 - - - - - ".to_owned();
    for element in 0..10_000 {
        text.push_str(&format!("[e{element}]"));
    }
    assert_eq!(parse(text.as_bytes()).unwrap().data.elements().count(), 10_000);
    for repeated in ["[e3]", "[e20]", "[e9999]"] {
        let error = parse(format!("{text}{repeated}").as_bytes()).unwrap_err();
        assert_eq!(error.part, Part::RepeatedElement);
    }
}
