use std::time::Duration;

use proptest::prelude::*;

use super::time::SecondText;
use super::{AccessLogSettings, ExtraField, Redact, put_quoted, write_line};
use crate::{AppTags, Backend, Phases, RequestRecord};

/// The request of the original's own tests.
fn record(tags: &AppTags) -> RequestRecord<'_> {
    RequestRecord {
        host: b"FakeRequestHost",
        method: "FakeRequestMethod",
        uri: "http://example.com/request",
        protocol: "FakeRequestProto",
        status: 200,
        received_bytes: 30,
        sent_bytes: 23,
        referer: b"FakeReferer",
        user_agent: b"FakeUserAgent",
        forwarded_for: b"FakeProxy1, FakeProxy2",
        forwarded_proto: b"FakeOriginalRequestProto",
        request_id: "abc-123-xyz-pdq",
        remote_address: "FakeRemoteAddr",
        started: 946_684_800_000_000_000,
        took: Some(Duration::from_secs(60)),
        router_took: Some(Duration::from_secs(10)),
        router_error: "some-router-error",
        backend: Some(Backend {
            address: "1.2.3.4:1234",
            app_id: "FakeApplicationId",
            instance_index: "3",
            instance_id: "FakeInstanceId",
            tags,
        }),
        ..RequestRecord::EMPTY
    }
}

fn line(record: &RequestRecord<'_>, settings: &AccessLogSettings) -> String {
    let mut line = Vec::new();
    write_line(&mut line, record, settings, true);
    String::from_utf8(line).expect("it is quoted")
}

fn plain(record: &RequestRecord<'_>) -> String {
    line(record, &AccessLogSettings::default())
}

/// The line that the original's own test expects.
#[test]
fn a_line_has_the_fields_of_the_original() {
    let expected = concat!(
        r#"FakeRequestHost - [2000-01-01T00:00:00.000000000Z] "#,
        r#""FakeRequestMethod http://example.com/request FakeRequestProto" "#,
        r#"200 30 23 "FakeReferer" "FakeUserAgent" "FakeRemoteAddr" "1.2.3.4:1234" "#,
        r#"x_forwarded_for:"FakeProxy1, FakeProxy2" x_forwarded_proto:"FakeOriginalRequestProto" "#,
        r#"vcap_request_id:"abc-123-xyz-pdq" response_time:60.000000 gorouter_time:10.000000 "#,
        r#"app_id:"FakeApplicationId" app_index:"3" instance_id:"FakeInstanceId" "#,
        r#"x_cf_routererror:"some-router-error""#,
    );
    assert_eq!(plain(&record(&AppTags::default())), expected);
}

/// A request of which nothing is known but that it came.
#[test]
fn what_is_missing_is_a_dash() {
    let record = RequestRecord {
        host: b"host",
        method: "GET",
        uri: "/",
        protocol: "HTTP/1.1",
        ..RequestRecord::EMPTY
    };
    let expected = concat!(
        r#"host - [1970-01-01T00:00:00.000000000Z] "GET / HTTP/1.1" "-" 0 0 "-" "-" "-" "-" "#,
        r#"x_forwarded_for:"-" x_forwarded_proto:"-" vcap_request_id:"-" response_time:"-" gorouter_time:"-" "#,
        r#"app_id:"-" app_index:"-" instance_id:"-" x_cf_routererror:"-""#,
    );
    assert_eq!(plain(&record), expected);
}

/// Configured fields stand in their order before the error, configured headers after it.
#[test]
fn configured_fields_and_headers_are_added() {
    let tags = AppTags::default();
    let record = RequestRecord {
        failed_attempts: 2,
        is_answered_by_backend: true,
        local_address: "10.0.0.1:34567",
        phases: Phases {
            failed_attempts: Some(Duration::from_millis(1500)),
            dns: None,
            dial: Some(Duration::from_nanos(1_234_567)),
            tls: Some(Duration::from_micros(7)),
            backend: Some(Duration::from_secs(2)),
        },
        extra_headers: &[
            ("Cache-Control", b"no-cache"),
            ("Accept-Encoding", b"gzip, deflate"),
            ("Doesnt-Exist", b""),
        ],
        ..record(&tags)
    };
    let names = [
        "failed_attempts",
        "dial_time",
        "dns_time",
        "local_address",
        "tls_time",
        "backend_time",
        "failed_attempts_time",
    ];
    let extra_fields = names.iter().filter_map(|name| ExtraField::parse(name)).collect();
    let settings = AccessLogSettings {
        extra_fields,
        ..AccessLogSettings::default()
    };
    let expected = concat!(
        r#" instance_id:"FakeInstanceId" failed_attempts:2 dial_time:0.001235 dns_time:"-" "#,
        r#"local_address:"10.0.0.1:34567" tls_time:0.000007 backend_time:2.000000 failed_attempts_time:1.500000 "#,
        r#"x_cf_routererror:"some-router-error" cache_control:"no-cache" accept_encoding:"gzip, deflate" doesnt_exist:"-""#,
    );
    let whole = line(&record, &settings);
    assert!(whole.ends_with(expected), "{whole}");
    let failed = RequestRecord {
        is_answered_by_backend: false,
        ..record
    };
    assert!(line(&failed, &settings).contains(r#" backend_time:"-" "#));
    assert_eq!(ExtraField::parse("other"), None);
}

/// Addresses of clients can be left out.
#[test]
fn addresses_can_be_hidden() {
    let tags = AppTags::default();
    let settings = AccessLogSettings {
        hide_forwarded_for: true,
        hide_remote_address: true,
        ..AccessLogSettings::default()
    };
    let line = line(&record(&tags), &settings);
    assert!(
        !line.contains("FakeProxy") && !line.contains("FakeRemoteAddr"),
        "{line}"
    );
    assert!(
        line.contains(r#""FakeUserAgent" "-" "1.2.3.4:1234" x_forwarded_for:"-" "#),
        "{line}"
    );
}

/// The query of a `GET` is hidden or hashed, that of another method is not; the hash is that of the original's own test.
#[test]
fn queries_can_be_redacted() {
    let shown = |method, uri, redact_query| {
        let settings = AccessLogSettings {
            redact_query,
            ..AccessLogSettings::default()
        };
        let record = RequestRecord {
            method,
            uri,
            protocol: "HTTP/1.1",
            ..RequestRecord::EMPTY
        };
        let line = line(&record, &settings);
        line.split('"').nth(1).expect("it is quoted").to_owned()
    };
    assert_eq!(
        shown("GET", "/x?query=value", Redact::None),
        "GET /x?query=value HTTP/1.1"
    );
    assert_eq!(shown("GET", "/x?query=value", Redact::All), "GET /x HTTP/1.1");
    let hashed = "GET /x?hash=9c9042adbe045596c2299990920eaa18536d66a1 HTTP/1.1";
    assert_eq!(shown("GET", "/x?query=value", Redact::Hash), hashed);
    assert_eq!(shown("GET", "/x", Redact::Hash), "GET /x HTTP/1.1");
    assert_eq!(
        shown("POST", "/x?query=value", Redact::All),
        "POST /x?query=value HTTP/1.1"
    );
}

/// Long parts are cut in an app's stream if the whole line is too long for it, and never in a file.
#[test]
fn long_parts_of_a_long_line_are_cut() {
    let tags = AppTags::default();
    let agent = "User-Agent".repeat(10_000);
    let uri = format!("/?{}", "&a=a".repeat(100_000));
    let headers = vec![("X-Long", &b"0123456789"[..]); 3_000];
    let long = RequestRecord {
        user_agent: agent.as_bytes(),
        uri: &uri,
        extra_headers: &headers,
        ..record(&tags)
    };
    let cut = plain(&long);
    assert!(cut.len() < 65_400, "{}", cut.len());
    for mark in [
        "...USER-AGENT-TOO-LONG-TO-LOG--TRUNCATED\"",
        "...REQUEST-URI-TOO-LONG-TO-LOG--TRUNCATED Fake",
        " ...EXTRA-REQUEST-HEADERS-TOO-LONG-TO-LOG--TRUNCATED",
    ] {
        assert!(cut.contains(mark), "{mark}");
    }
    let mut whole = Vec::new();
    write_line(&mut whole, &long, &AccessLogSettings::default(), false);
    assert!(whole.len() > agent.len() + uri.len());
    // A header alone does not make a line too long.
    let agent = "a".repeat(2_000);
    let record = RequestRecord {
        user_agent: agent.as_bytes(),
        ..record(&tags)
    };
    assert!(plain(&record).contains(&agent));
}

/// Escapes as Go's `strconv.Quote` writes them.
#[test]
fn text_is_quoted_as_by_the_original() {
    for (text, quoted) in [
        (&b"plain ~"[..], "plain ~"),
        (b"a\"b\\c", r#"a\"b\\c"#),
        (b"\x07\x08\x0c\n\r\t\x0b", r"\a\b\f\n\r\t\v"),
        (b"\x00\x1b\x7f", r"\x00\x1b\x7f"),
        ("größe ☺ 𝄞 e\u{301}".as_bytes(), "größe ☺ 𝄞 e\u{301}"),
        ("\u{a0}\u{ad}\u{200b}\u{feff}".as_bytes(), r"\u00a0\u00ad\u200b\ufeff"),
        ("\u{e000}\u{10ffff}".as_bytes(), r"\ue000\U0010ffff"),
        (b"\xff\xc3", r"\xff\xc3"),
        (b"\xe2\x98", r"\xe2\x98"),
    ] {
        let mut out = Vec::new();
        put_quoted(&mut out, text);
        assert_eq!(String::from_utf8(out).unwrap(), quoted);
    }
}

/// Days at the ends of months, years and centuries.
#[test]
fn times_are_those_of_the_calendar() {
    let mut second = SecondText::default();
    for (nanos, expected) in [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (951_782_399_999_999_999, "2000-02-28T23:59:59.999999999Z"),
        (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
        (1_709_251_199_000_000_000, "2024-02-29T23:59:59.000000000Z"),
        (1_735_689_599_123_456_789, "2024-12-31T23:59:59.123456789Z"),
        (1_735_689_599_000_000_000, "2024-12-31T23:59:59.000000000Z"),
        (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
    ] {
        let mut out = Vec::new();
        second.put(&mut out, nanos);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

proptest! {
    /// Whatever a client sends, its headers stay inside their quotes on one line.
    #[test]
    fn no_header_leaves_its_quotes(agent in prop::collection::vec(any::<u8>(), 0..40), uri in "\\PC{0,20}") {
        let tags = AppTags::default();
        let line = plain(&RequestRecord { user_agent: &agent, uri: &uri, ..record(&tags) });
        prop_assert!(!line.chars().any(char::is_control), "{line:?}");
        let mut inside = false;
        let mut is_escaped = false;
        let mut texts = 0;
        for character in line.chars() {
            match character {
                _ if is_escaped => is_escaped = false,
                '\\' if inside => is_escaped = true,
                '"' => {
                    inside = !inside;
                    texts += usize::from(inside);
                }
                _ => {}
            }
        }
        prop_assert_eq!((inside, texts), (false, 12));
    }
}
