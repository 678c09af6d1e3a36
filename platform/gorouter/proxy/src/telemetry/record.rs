//! A request as it is told and counted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http::{HeaderValue, Version};
use weir_applog::{Backend, ExtraField, Phases, RequestRecord, TraceIds};
use weir_service::clock;

use super::backends::Notes;
use super::{Counters, TelemetrySettings};
use crate::account::Account;
use crate::backend::Failure;
use crate::refusal::Refusal;

/// Counts a request that is over.
pub(super) fn count(counters: &Counters, account: &Account, notes: Option<&Notes>) {
    let Some(notes) = notes else {
        return;
    };
    counters.response(account.status);
    let Some(forwarded) = account.forwarded else {
        return;
    };
    let latency = milliseconds(account.started.elapsed());
    Counters::set(&counters.latency, latency);
    Counters::set(&counters.gorouter_time, milliseconds(forwarded - account.started));
    if let Some(component) = &notes.component {
        component.latency.store(latency.to_bits(), Ordering::Relaxed);
    }
}

/// Counts a refusal.
pub(super) fn refused(counters: &Counters, refusal: &Refusal) {
    let counter = match refusal {
        Refusal::UnknownRoute { .. }
        | Refusal::UnknownInstance { .. }
        | Refusal::EmptyHost
        | Refusal::InvalidAppInstance
        | Refusal::InvalidProcessInstance => &counters.rejected_requests,
        Refusal::Overloaded { .. } => &counters.backend_exhausted_conns,
        Refusal::Endpoint(Failure::WrongName { .. }) => &counters.backend_invalid_id,
        Refusal::Endpoint(Failure::Untrusted { .. }) => &counters.backend_invalid_tls_cert,
        Refusal::Endpoint(Failure::NotTls | Failure::Handshake) => &counters.backend_tls_handshake_failed,
        Refusal::Endpoint(failure) if failure.answer().0 == 502 => &counters.bad_gateways,
        _ => return,
    };
    Counters::add(counter, 1);
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn bytes(value: Option<&HeaderValue>) -> &[u8] {
    value.map_or(b"", HeaderValue::as_bytes)
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Makes the record of a request that is over, and calls `told` with it.
pub(super) fn with(
    settings: &TelemetrySettings,
    account: &Account,
    notes: Option<&Notes>,
    told: impl FnOnce(&RequestRecord<'_>),
) {
    let peer = account.peer();
    let now = clock::instant();
    let request_id = account.trace.request.text();
    let (trace, span) = (account.trace.trace.text(), account.trace.span.text());
    let endpoint = account.endpoint();
    let backend = endpoint.zip(notes).map(|(endpoint, notes)| Backend {
        address: endpoint.address(),
        app_id: endpoint.app_id(),
        instance_index: endpoint.instance_index(),
        instance_id: endpoint.instance_id(),
        tags: &notes.app,
    });
    let local = match (
        settings.access_log.extra_fields.contains(&ExtraField::LocalAddress),
        account.effort.local,
    ) {
        (true, Some(local)) => local.to_string(),
        _ => String::new(),
    };
    let extra = settings.extra_headers.iter().zip(&account.told.extra);
    let extra: Vec<(&str, &[u8])> = extra
        .map(|((name, _), value)| (name.as_str(), bytes(value.as_ref())))
        .collect();
    let authority = account.uri.authority().map_or("", |authority| authority.as_str());
    let host = match account.told.host.as_ref() {
        Some(host) => host.as_bytes(),
        None => authority.as_bytes(),
    };
    let record = RequestRecord {
        host,
        method: account.method.as_str(),
        scheme: if peer.tls { "https" } else { "http" },
        uri: account.uri.path_and_query().map_or("/", |target| target.as_str()),
        protocol: protocol(account.version),
        status: account.status,
        received_bytes: account.received_bytes(),
        sent_bytes: account.sent,
        referer: bytes(account.told.referer.as_ref()),
        user_agent: bytes(account.told.user_agent.as_ref()),
        forwarded_for: bytes(account.told.forwarded_for.as_ref()),
        forwarded_proto: bytes(account.told.forwarded_proto.as_ref()),
        request_id: std::str::from_utf8(&request_id).unwrap_or_default(),
        remote_address: &peer.address_text,
        local_address: &local,
        started: account.started_nanos(),
        took: Some(now - account.started),
        router_took: account.forwarded.map(|forwarded| forwarded - account.started),
        router_error: &account.error,
        route: account.route(),
        backend,
        failed_attempts: account.failed_attempts,
        is_answered_by_backend: account.answered_by_backend,
        phases: phases(account, now),
        trace: Some(TraceIds {
            trace: std::str::from_utf8(&trace).unwrap_or_default(),
            span: std::str::from_utf8(&span).unwrap_or_default(),
        }),
        attempts: &account.attempts,
        extra_headers: &extra,
    };
    told(&record);
}

/// How long the phases of a request took.
fn phases(account: &Account, now: std::time::Instant) -> Phases {
    let begun = account.last_failed.or(account.forwarded);
    Phases {
        failed_attempts: account
            .last_failed
            .zip(account.forwarded)
            .map(|(last, forwarded)| last - forwarded),
        dns: None,
        dial: account.effort.dial.filter(|_| account.answered_by_backend),
        tls: account.effort.tls.filter(|_| account.answered_by_backend),
        backend: begun.filter(|_| account.answered_by_backend).map(|begun| now - begun),
    }
}
