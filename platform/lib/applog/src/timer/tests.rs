use std::collections::BTreeMap;
use std::time::Duration;

use weir_envelope::view::{EnvelopeView, Message};

use super::*;
use crate::{AppTags, TraceIds};

const ID: &str = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736";

fn tags() -> AppTags {
    let tags = [
        ("component", "route-emitter"),
        ("instance_id", "7"),
        ("method", "a tag of the app does not replace one of the timer"),
        ("source_id", "app"),
    ];
    AppTags::new(tags.into_iter())
}

fn record<'r>(tags: &'r AppTags, attempts: &'r [Attempt]) -> RequestRecord<'r> {
    RequestRecord {
        host: b"app.example.com",
        method: "GET",
        scheme: "https",
        uri: "/a%20b?secret=1",
        protocol: "HTTP/1.1",
        status: 200,
        sent_bytes: 1024,
        user_agent: b"curl/8\xff",
        forwarded_for: b"10.0.0.1, 10.0.0.2",
        request_id: ID,
        remote_address: "10.0.0.2:40000",
        started: 1_000,
        took: Some(Duration::from_nanos(500)),
        route: "app.example.com",
        backend: Some(Backend {
            address: "10.1.0.1:61001",
            app_id: "2f1e0b54-4b7d-4b6e-9d0a-6c2f1e0b5400",
            instance_index: "7",
            instance_id: "instance",
            tags,
        }),
        failed_attempts: 1,
        is_answered_by_backend: true,
        trace: Some(TraceIds {
            trace: "trace",
            span: "span",
        }),
        attempts,
        ..RequestRecord::EMPTY
    }
}

/// The tags of an envelope, none of which is there twice.
fn tags_of(envelope: &[u8]) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    for (name, value) in EnvelopeView::new(envelope).tags() {
        let twice = tags.insert(name.to_owned(), value.to_owned());
        assert_eq!(twice, None, "{name}");
    }
    tags
}

fn expected(tags: &[(&str, &str)]) -> BTreeMap<String, String> {
    tags.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

const COMMON: [(&str, &str); 9] = [
    ("origin", "gorouter"),
    ("request_id", ID),
    ("method", "GET"),
    ("uri", "https://app.example.com/a b"),
    ("remote_address", "10.0.0.2:40000"),
    ("user_agent", "curl/8\u{fffd}"),
    ("status_code", "200"),
    ("routing_instance_id", "instance"),
    ("forwarded", "10.0.0.1\n10.0.0.2"),
];

/// The timer of a request has what the original's event has in v2, and what `router_requests` shows.
#[test]
fn a_request_is_a_timer_of_the_server() {
    let tags = tags();
    let mut envelope = Vec::new();
    write_server(&mut envelope, &record(&tags, &[]), &mut Vec::new());
    let view = EnvelopeView::new(&envelope);
    assert_eq!(
        (view.source_id(), view.instance_id()),
        ("2f1e0b54-4b7d-4b6e-9d0a-6c2f1e0b5400", "7")
    );
    assert_eq!(view.timestamp(), 1_500);
    assert!(matches!(
        view.message(),
        Message::Timer {
            name: "http",
            start: 1_000,
            stop: 1_500
        }
    ));
    let own = [
        ("peer_type", "Server"),
        ("content_length", "1024"),
        ("trace_id", "trace"),
        ("span_id", "span"),
        ("route", "app.example.com"),
        ("backend", "10.1.0.1:61001"),
        ("attempts", "2"),
        ("component", "route-emitter"),
        ("instance_id", "7"),
    ];
    assert_eq!(tags_of(&envelope), expected(&[&COMMON[..], &own].concat()));
}

/// The timer of a call has the times and the answer of the call, and no tags of the backend.
#[test]
fn a_call_is_a_timer_of_the_client() {
    let tags = tags();
    let attempt = Attempt {
        started: 1_100,
        took: Duration::from_nanos(200),
        status: 502,
        content_length: None,
    };
    let mut envelope = Vec::new();
    write_client(&mut envelope, &record(&tags, &[attempt]), &attempt, &mut Vec::new());
    let message = EnvelopeView::new(&envelope).message();
    assert!(matches!(
        message,
        Message::Timer {
            name: "http",
            start: 1_100,
            stop: 1_300
        }
    ));
    let own = [
        ("peer_type", "Client"),
        ("content_length", "-1"),
        ("status_code", "502"),
    ];
    assert_eq!(tags_of(&envelope), expected(&[&COMMON[..], &own].concat()));
}

/// Whose stream a request is told in: that of the app, that of the backend's tag, or the router's own.
#[test]
fn a_request_belongs_to_its_app() {
    let tags = tags();
    let none = AppTags::default();
    let of = |app_id, tags| {
        let backend = Backend {
            address: "",
            app_id,
            instance_index: "",
            instance_id: "",
            tags,
        };
        source_id(Some(&backend)).to_owned()
    };
    assert_eq!(
        [of("id", &tags), of("", &tags), of("", &none)],
        ["id", "app", "gorouter"]
    );
    assert_eq!(source_id(None), "gorouter");
    let mut envelope = Vec::new();
    let unknown = RequestRecord {
        router_error: "unknown_route",
        ..RequestRecord::EMPTY
    };
    write_server(&mut envelope, &unknown, &mut Vec::new());
    assert_eq!(EnvelopeView::new(&envelope).instance_id(), "0");
    let tags = tags_of(&envelope);
    assert_eq!(tags.get("router_error").map(String::as_str), Some("unknown_route"));
    assert_eq!(
        [tags.contains_key("attempts"), tags.contains_key("route")],
        [false, false]
    );
}
