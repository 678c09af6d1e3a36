//! The `http` timers of a request: what the original's HTTP start and stop events become in v2, and what the SQL view
//! `router_requests` shows beside.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use weir_envelope::encode::Writer;

use crate::access_log::put_number;
use crate::record::{Attempt, Backend, RequestRecord, later};
use crate::tags::put_tag;

/// The source of requests that belong to no app, and the tag `origin`.
pub(crate) const ROUTER: &str = "gorouter";

/// What a timer tells beside its tags.
struct Span {
    peer: &'static str,
    start: i64,
    stop: i64,
    status: u16,
    content_length: i64,
}

/// Writes the timer of a whole request, from the client's side.
pub(crate) fn write_server(out: &mut Vec<u8>, record: &RequestRecord<'_>, scratch: &mut Vec<u8>) {
    let span = Span {
        peer: "Server",
        start: record.started,
        stop: record.finished(),
        status: record.status,
        content_length: i64::try_from(record.sent_bytes).unwrap_or(i64::MAX),
    };
    write(out, record, &span, scratch);
    if let Some(trace) = record.trace {
        put_tag(out, "trace_id", trace.trace);
        put_tag(out, "span_id", trace.span);
    }
    if let Some(backend) = record.backend {
        put_tag(out, "backend", backend.address);
    }
    for (name, text) in [("route", record.route), ("router_error", record.router_error)] {
        if !text.is_empty() {
            put_tag(out, name, text);
        }
    }
    let attempts = i64::from(record.failed_attempts) + i64::from(record.is_answered_by_backend);
    if attempts > 0 {
        put_tag(out, "attempts", decimal(scratch, attempts));
    }
    if let Some(backend) = record.backend {
        out.extend_from_slice(&backend.tags.of_timer);
    }
}

/// Writes the timer of one call of a backend.
pub(crate) fn write_client(out: &mut Vec<u8>, record: &RequestRecord<'_>, attempt: &Attempt, scratch: &mut Vec<u8>) {
    let length = attempt
        .content_length
        .map(|length| i64::try_from(length).unwrap_or(i64::MAX));
    let span = Span {
        peer: "Client",
        start: attempt.started,
        stop: later(attempt.started, attempt.took),
        status: attempt.status,
        content_length: length.unwrap_or(if attempt.status == 0 { 0 } else { -1 }),
    };
    write(out, record, &span, scratch);
}

fn write(out: &mut Vec<u8>, record: &RequestRecord<'_>, span: &Span, scratch: &mut Vec<u8>) {
    let backend = record.backend.as_ref();
    let index = backend.map_or("", |backend| backend.instance_index);
    Writer::new(out)
        .timestamp(span.stop)
        .source_id(source_id(backend))
        .instance_id(if index.is_empty() { "0" } else { index })
        .timer("http", span.start, span.stop);
    put_tag(out, "origin", ROUTER);
    put_tag(out, "peer_type", span.peer);
    put_tag(out, "request_id", record.request_id);
    put_tag(out, "method", record.method);
    put_uri(scratch, record);
    put_tag(out, "uri", &text(scratch));
    put_tag(out, "remote_address", record.remote_address);
    put_tag(out, "user_agent", &text(record.user_agent));
    put_tag(out, "status_code", decimal(scratch, i64::from(span.status)));
    put_tag(out, "content_length", decimal(scratch, span.content_length));
    let instance = backend.map_or("", |backend| backend.instance_id);
    put_tag(out, "routing_instance_id", instance);
    put_forwarded(scratch, record.forwarded_for);
    put_tag(out, "forwarded", &text(scratch));
}

/// The app of the backend, or what the tags of its registration say, or the router.
pub(crate) fn source_id<'b>(backend: Option<&Backend<'b>>) -> &'b str {
    match backend {
        Some(backend) if !backend.app_id.is_empty() => backend.app_id,
        Some(backend) if !backend.tags.source_id.is_empty() => &backend.tags.source_id,
        _ => ROUTER,
    }
}

/// Scheme, host and path, which is decoded.
fn put_uri(scratch: &mut Vec<u8>, record: &RequestRecord<'_>) {
    scratch.clear();
    scratch.extend_from_slice(record.scheme.as_bytes());
    scratch.extend_from_slice(b"://");
    scratch.extend_from_slice(record.host);
    let path = record.uri.split('?').next().unwrap_or_default();
    if path.contains('%') {
        scratch.extend(percent_decode_str(path));
    } else {
        scratch.extend_from_slice(path.as_bytes());
    }
}

/// The addresses of `X-Forwarded-For`, one a line.
fn put_forwarded(scratch: &mut Vec<u8>, forwarded_for: &[u8]) {
    scratch.clear();
    for (number, address) in forwarded_for.split(|byte| *byte == b',').enumerate() {
        if number > 0 {
            scratch.push(b'\n');
        }
        scratch.extend_from_slice(address.trim_ascii());
    }
}

/// Text of clients, which need not be UTF-8.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

pub(crate) fn decimal(scratch: &mut Vec<u8>, number: i64) -> &str {
    scratch.clear();
    if number < 0 {
        scratch.push(b'-');
    }
    put_number(scratch, number.unsigned_abs());
    std::str::from_utf8(scratch).expect("digits are ASCII")
}

#[cfg(test)]
mod tests;
