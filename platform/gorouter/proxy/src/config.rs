//! The router's configuration.

use std::net::IpAddr;
use std::ops::Deref;
use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use weir_applog::{AccessLogSettings, ExtraField, Redact};
use weir_config::{ByteSize, Problems, Setting as _};
use weir_net::{PortLimits, RawPortLimits};
use weir_platform_gorouter_table::{Balancing, Sharding, TableSettings, ZonePreference};
use weir_tls::ClientCertificates;

use crate::front::Patience;
use crate::headers::rewrite::Rewrite;
use crate::settings::{BackendSettings, ClientCertificate, ForwardedProto, Settings, Sticky, Tracing};
use crate::telemetry::TelemetrySettings;

mod raw;

pub use raw::{
    RawBackendTls, RawBackends, RawCertificate, RawConfig, RawHeaders, RawLimits, RawRouteServices, RawTable,
    RawTelemetry, RawTimeouts,
};

/// A configuration whose values are in their ranges.
#[derive(Debug, Clone)]
pub struct Config {
    written: RawConfig,
    pub(crate) settings: Settings,
    pub(crate) telemetry_settings: TelemetrySettings,
    pub(crate) table_settings: TableSettings,
    pub(crate) connections: BackendSettings,
    pub(crate) patience: Patience,
    pub(crate) port: PortLimits,
}

impl Deref for Config {
    type Target = RawConfig;

    fn deref(&self) -> &RawConfig {
        &self.written
    }
}

impl RawCertificate {
    /// The file of the certificate and that of its key.
    pub(crate) fn pair(&self) -> (PathBuf, PathBuf) {
        (self.cert.clone(), self.key.clone())
    }
}

impl Config {
    /// What clients are asked for.
    pub(crate) fn client_certificates(&self) -> ClientCertificates {
        let authorities = self.client_ca.clone();
        match self.written.client_certificates.as_str() {
            "request" => ClientCertificates::Checked(authorities),
            "require" => ClientCertificates::Required(authorities),
            _ => ClientCertificates::Ignored,
        }
    }
}

impl TryFrom<RawConfig> for Config {
    type Error = Problems;

    fn try_from(raw: RawConfig) -> Result<Self, Problems> {
        let mut problems = raw.problems();
        if raw.listen.is_none() && raw.listen_tls.is_none() {
            problems.reject("listen", "must be an address, unless `listen_tls` is one");
        }
        if raw.listen_tls.is_some() && raw.certificates.is_empty() {
            problems.reject("certificates", "must be at least one, because `listen_tls` is set");
        }
        if raw.client_certificates != "none" && raw.client_ca.as_os_str().is_empty() {
            problems.reject(
                "client_ca",
                "must be a file, because clients are asked for certificates",
            );
        }
        if raw.telemetry.agent.is_some() && raw.identity.is_none() {
            problems.reject("identity", "must be there, because `telemetry.agent` is set");
        }
        let settings = settings(&raw, &mut problems);
        let telemetry_settings = telemetry(&raw, &mut problems);
        let limits = RawPortLimits {
            connections: raw.limits.connections,
            connections_per_address: raw.limits.connections_per_address,
            ..RawPortLimits::default()
        };
        let times = raw.timeouts;
        problems.into_result(Self {
            settings,
            telemetry_settings,
            table_settings: table(&raw),
            connections: BackendSettings {
                dial: times.dial.get(),
                handshake: times.backend_handshake.get(),
                request: times.request.get(),
                probe: times.probe.get(),
                keep_alive: raw.backends.keep_alive,
                idle: raw.backends.max_idle,
                idle_per_backend: raw.backends.max_idle_per_backend,
                answer_head: bytes(raw.backends.max_answer_head),
            },
            patience: Patience {
                head: times.head.get(),
                idle: times.idle.get(),
                stalled: times.stalled.get(),
            },
            port: PortLimits {
                handshake: times.client_handshake.get(),
                // An answer is written at once; waiting for others would only delay it.
                gathers_writes: false,
                ..limits.limits()
            },
            written: raw,
        })
    }
}

fn bytes(size: ByteSize) -> usize {
    size.as_usize()
}

fn table(raw: &RawConfig) -> TableSettings {
    let segments = || raw.table.isolation_segments.clone();
    TableSettings {
        stale_threshold: raw.table.stale_threshold.get(),
        balancing: Balancing::parse(&raw.table.balancing).unwrap_or_default(),
        empty_pool_timeout: raw.table.empty_timeout.get(),
        max_conns: raw.backends.max_conns,
        zone: raw.zone.clone(),
        zone_preference: match raw.table.zone_preference.as_str() {
            "locally-optimistic" => ZonePreference::LocallyOptimistic,
            _ => ZonePreference::None,
        },
        sharding: match raw.table.sharding.as_str() {
            "segments" => Sharding::Segments(segments()),
            "shared-and-segments" => Sharding::SharedAndSegments(segments()),
            _ => Sharding::All,
        },
    }
}

fn settings(raw: &RawConfig, problems: &mut Problems) -> Settings {
    let headers = &raw.headers;
    Settings {
        // Checked as all values are.
        router: raw.address.parse().unwrap_or(IpAddr::from([127, 0, 0, 1])),
        attempts: raw.backends.max_attempts,
        empty_is_unavailable: raw.table.empty_is_unavailable,
        request_head: bytes(raw.limits.request_head),
        request_headers: raw.limits.request_headers,
        answer_headers: raw.backends.max_answer_headers,
        forwarded_proto: match (headers.force_forwarded_proto_https, headers.sanitize_forwarded_proto) {
            (true, _) => ForwardedProto::ForceHttps,
            (false, true) => ForwardedProto::Sanitize,
            (false, false) => ForwardedProto::Keep,
        },
        client_certificate: match headers.forwarded_client_cert.as_str() {
            "forward" => ClientCertificate::Forward,
            "sanitize_set" => ClientCertificate::SanitizeSet,
            _ => ClientCertificate::AlwaysForward,
        },
        kept_hop_headers: names("headers.hop_by_hop_kept", &headers.hop_by_hop_kept, problems),
        tracing: Tracing {
            b3: headers.b3,
            w3c: headers.w3c,
            w3c_tenant: Some(headers.w3c_tenant.clone()).filter(|tenant| !tenant.is_empty()),
        },
        trace_key: Some(headers.trace_key.expose().clone()).filter(|key| !key.is_empty()),
        health_agent: headers.health_agent.clone(),
        sticky: Sticky {
            cookies: raw.backends.sticky_cookies.clone(),
            secure: raw.backends.secure_cookies,
            negotiate: raw.backends.sticky_negotiate,
        },
        keep_continued: raw.backends.keep_after_continue,
        rewrite: Rewrite {
            remove: names("headers.remove_from_answers", &headers.remove_from_answers, problems),
            add_if_absent: fields("headers.add_to_answers", &headers.add_to_answers, problems),
        },
        http2: raw.backends.http2,
    }
}

fn telemetry(raw: &RawConfig, problems: &mut Problems) -> TelemetrySettings {
    let telemetry = &raw.telemetry;
    let mut extra_fields = Vec::new();
    for name in &telemetry.extra_fields {
        match ExtraField::parse(name) {
            Some(field) => extra_fields.push(field),
            None => problems.refuse("telemetry.extra_fields", name, "a field that lines know"),
        }
    }
    let mut shown = telemetry.extra_headers.clone();
    if raw.headers.b3 {
        shown.extend(["X-B3-TraceId", "X-B3-SpanId", "X-B3-ParentSpanId", "B3"].map(str::to_owned));
    }
    if raw.headers.w3c {
        shown.extend(["traceparent", "tracestate"].map(str::to_owned));
    }
    let known = names("telemetry.extra_headers", &shown, problems);
    TelemetrySettings {
        index: raw.index,
        file: telemetry.file.clone(),
        access_log: AccessLogSettings {
            hide_forwarded_for: telemetry.hide_forwarded_for,
            hide_remote_address: telemetry.hide_remote_address,
            redact_query: match telemetry.redact_query.as_str() {
                "all" => Redact::All,
                "hash" => Redact::Hash,
                _ => Redact::None,
            },
            extra_fields,
        },
        extra_headers: shown.into_iter().zip(known).collect(),
        server_timers: telemetry.timers,
        client_timers: telemetry.backend_timers,
    }
}

fn names(key: &str, written: &[String], problems: &mut Problems) -> Vec<HeaderName> {
    let mut names = Vec::new();
    for name in written {
        match name.parse() {
            Ok(name) => names.push(name),
            Err(_) => problems.refuse(key, name, "the name of a header"),
        }
    }
    names
}

fn fields(key: &str, written: &[String], problems: &mut Problems) -> Vec<(HeaderName, HeaderValue)> {
    let mut fields = Vec::new();
    for field in written {
        let parsed = field
            .split_once(':')
            .and_then(|(name, value)| Some((name.parse().ok()?, value.trim().parse().ok()?)));
        match parsed {
            Some(parsed) => fields.push(parsed),
            None => problems.refuse(key, field, "`Name: value`"),
        }
    }
    fields
}
