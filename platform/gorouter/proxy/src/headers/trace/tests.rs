use http::HeaderName;

use super::*;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const UUID: &str = "4bf92f35-77b3-4da6-a3ce-929d0e0e4736";

fn rule(b3: bool, w3c: bool) -> Tracing {
    Tracing {
        b3,
        w3c,
        w3c_tenant: None,
    }
}

/// The headers of a request that came with `fields`.
fn after(rule: &Tracing, fields: &[(&'static str, &str)]) -> HeaderMap {
    let fields = fields.iter();
    let mut headers = fields
        .map(|(name, value)| (HeaderName::from_static(name), value.parse().expect("a value")))
        .collect();
    apply(&mut headers, rule);
    headers
}

/// Without tracing a request has a number, whatever its client said.
#[test]
fn every_request_has_a_number() {
    let headers = after(
        &rule(false, false),
        &[("x-vcap-request-id", "mine"), ("traceparent", "kept")],
    );
    let number = text(&headers, &X_VCAP_REQUEST_ID);
    assert!(
        uuid::Uuid::parse_str(number).is_ok_and(|uuid| uuid.get_version_num() == 4),
        "{number}"
    );
    assert_eq!(headers.len(), 2);
}

/// A new trace has the request's number, in both forms.
#[test]
fn a_new_trace_is_the_request() {
    let headers = after(&rule(true, true), &[]);
    let number = text(&headers, &X_VCAP_REQUEST_ID).replace('-', "");
    let span = text(&headers, &X_B3_SPAN_ID);
    assert_eq!(text(&headers, &X_B3_TRACE_ID), number);
    assert_eq!(text(&headers, &B3), format!("{number}-{span}"));
    assert_eq!(text(&headers, &TRACEPARENT), format!("00-{number}-{span}-01"));
    assert_eq!(text(&headers, &TRACESTATE), format!("gorouter={span}"));
}

/// A trace in the single header is continued unchanged; the several headers are written as one.
#[test]
fn zipkin_is_continued() {
    let single = format!("{TRACE}-{SPAN}-1");
    let headers = after(&rule(true, false), &[("b3", &single)]);
    assert_eq!(
        (text(&headers, &B3), text(&headers, &X_VCAP_REQUEST_ID)),
        (single.as_str(), UUID)
    );
    let fields = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-sampled", "1")];
    let headers = after(&rule(true, false), &fields);
    assert_eq!(
        (text(&headers, &B3), text(&headers, &X_VCAP_REQUEST_ID)),
        (single.as_str(), UUID)
    );
}

/// What is no trace begins one.
#[test]
fn nonsense_is_not_continued() {
    for nonsense in [
        "x",
        "--",
        "0-0",
        "4bf92f3577b34da6-+0f067aa0ba902b7",
        "00000000000000000000000000000000-0000000000000000",
    ] {
        let headers = after(&rule(true, true), &[("b3", nonsense), ("traceparent", nonsense)]);
        let number = text(&headers, &X_VCAP_REQUEST_ID).replace('-', "");
        assert!(text(&headers, &B3).starts_with(&number));
        assert!(text(&headers, &TRACEPARENT).contains(&number));
    }
}

/// W3C: the trace and its flags stay, the span is this hop's, and of the states ours is the first and the only one.
#[test]
fn w3c_is_continued() {
    let parent = format!("00-{TRACE}-{SPAN}-00");
    let mut rule = rule(false, true);
    for (tenant, key) in [(None, "gorouter"), (Some("tid"), "tid@gorouter")] {
        rule.w3c_tenant = tenant.map(str::to_owned);
        let before = format!("rojo=1, {key}=old,congo=2");
        let headers = after(&rule, &[("traceparent", &parent), ("tracestate", &before)]);
        let now = text(&headers, &TRACEPARENT);
        let span = &now[36..52];
        assert_eq!(now, format!("00-{TRACE}-{span}-00"));
        assert_ne!(span, SPAN);
        assert_eq!(text(&headers, &TRACESTATE), format!("{key}={span},rojo=1,congo=2"));
        assert_eq!(text(&headers, &X_VCAP_REQUEST_ID), UUID);
    }
}
