//! The metrics of a UAA.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

use crate::hashing::Hasher;
use crate::revoked::Revoked;

/// The grant types that are counted. Others cannot reach the counter.
const GRANTS: [&str; 5] = [
    "password",
    "refresh_token",
    "client_credentials",
    "authorization_code",
    "urn:ietf:params:oauth:grant-type:jwt-bearer",
];

/// The outcomes of a login.
const LOGINS: [&str; 4] = ["ok", "failed", "locked", "busy"];

/// The classes of HTTP status codes.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The counters of a UAA. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    issued: [AtomicU64; GRANTS.len()],
    logins: [AtomicU64; LOGINS.len()],
    answers: [AtomicU64; CLASSES.len()],
    answer_micros: AtomicU64,
    clients_refused: AtomicU64,
}

impl Metrics {
    /// Registers all counters and gauges with `meter`.
    pub fn register(meter: &Meter, hasher: &Hasher, revoked: &Revoked) -> Self {
        let metrics = Self::default();
        let labelled =
            |name: &'static str, text: &'static str, label: &'static str, values: &'static [&'static str]| {
                let counts = Arc::clone(&metrics.counts);
                meter
                    .u64_observable_counter(name)
                    .with_description(text)
                    .with_callback(move |counter| {
                        let all: &[AtomicU64] = match label {
                            "grant_type" => &counts.issued,
                            "result" => &counts.logins,
                            _ => &counts.answers,
                        };
                        for (value, count) in values.iter().zip(all) {
                            counter.observe(count.load(Ordering::Relaxed), &[KeyValue::new(label, *value)]);
                        }
                    })
                    .build();
            };
        labelled("uaa_tokens_issued", "Access tokens, by grant.", "grant_type", &GRANTS);
        labelled(
            "uaa_logins",
            "Logins with a password, by how they ended.",
            "result",
            &LOGINS,
        );
        labelled(
            "uaa_responses",
            "Answers, by class of their status.",
            "status",
            &CLASSES,
        );
        let counts = Arc::clone(&metrics.counts);
        meter
            .u64_observable_counter("uaa_response_time_us")
            .with_description("Time until answers were ready, in sum, in microseconds.")
            .with_callback(move |counter| counter.observe(counts.answer_micros.load(Ordering::Relaxed), &[]))
            .build();
        let counts = Arc::clone(&metrics.counts);
        meter
            .u64_observable_counter("uaa_clients_refused")
            .with_description("Clients with a wrong secret.")
            .with_callback(move |counter| counter.observe(counts.clients_refused.load(Ordering::Relaxed), &[]))
            .build();
        let queue = hasher.clone();
        meter
            .u64_observable_gauge("uaa_hashing_queue")
            .with_description("Passwords and secrets that wait for a hash or are being hashed.")
            .with_callback(move |gauge| gauge.observe(queue.waiting() as u64, &[]))
            .build();
        let known = revoked.clone();
        meter
            .u64_observable_gauge("uaa_revocations")
            .with_description("Revocations that still matter.")
            .with_callback(move |gauge| gauge.observe(known.count() as u64, &[]))
            .build();
        metrics
    }

    /// Counts an access token of this grant type.
    pub fn issued(&self, grant_type: &str) {
        add(&self.counts.issued, &GRANTS, grant_type);
    }

    /// Counts a login with a password by its outcome: `ok`, `failed`, `locked` or `busy`.
    pub fn login(&self, result: &str) {
        add(&self.counts.logins, &LOGINS, result);
    }

    /// Counts a request of a client with a wrong secret.
    pub fn client_refused(&self) {
        self.counts.clients_refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer by its status, and adds the time that it took.
    pub fn answered(&self, status: StatusCode, took: Duration) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(count) = self.counts.answers.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.counts.answer_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

fn add(counts: &[AtomicU64], names: &[&str], name: &str) {
    if let Some(index) = names.iter().position(|known| *known == name) {
        counts[index].fetch_add(1, Ordering::Relaxed);
    }
}
