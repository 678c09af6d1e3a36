//! What the router tells of its requests and routes: lines and timers in the streams of apps, and metrics.
//!
//! A request costs a record that its own thread encodes, and some additions. Metrics are read when they are collected.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use opentelemetry::metrics::Meter;
use weir_applog::{AccessLogSettings, RequestRecord, RequestSettings, Requests, write_line};
use weir_flow::LogContext;
use weir_net::Target;

use crate::account::Account;
use crate::refusal::Refusal;

mod backends;
mod counters;
mod file;
mod record;

use backends::BackendNotes;
pub(crate) use counters::Counters;
use file::LineFile;

/// About the length of a line.
const LINE: usize = 512;

/// What is told of requests.
#[derive(Debug, Clone)]
pub(crate) struct TelemetrySettings {
    /// The number of this router.
    pub(crate) index: u32,
    /// What lines show.
    pub(crate) access_log: AccessLogSettings,
    /// The file to which lines are appended.
    pub(crate) file: Option<PathBuf>,
    /// Headers that lines show beside those that they always show.
    pub(crate) extra_headers: Vec<(String, http::HeaderName)>,
    /// Whether a timer is told of each request.
    pub(crate) server_timers: bool,
    /// Whether a timer is told of each call of a backend.
    pub(crate) client_timers: bool,
}

/// Where requests are told.
#[derive(Debug)]
pub(crate) struct Told {
    settings: TelemetrySettings,
    /// `None` if there is no agent.
    requests: Option<Requests>,
    /// `None` if lines are written to no file.
    file: Option<LineFile>,
    /// What is counted.
    pub(crate) counters: Arc<Counters>,
    backends: BackendNotes,
}

impl Told {
    /// Tells `agent`, if there is one, and counts for `meter`.
    ///
    /// # Errors
    /// When the file of lines cannot be written to.
    pub(crate) fn start(
        settings: TelemetrySettings,
        agent: Option<&Target>,
        context: &LogContext,
        meter: &Meter,
    ) -> io::Result<Self> {
        let of_requests = || RequestSettings {
            index: settings.index.to_string(),
            lines: true,
            access_log: settings.access_log.clone(),
            server_timers: settings.server_timers,
            client_timers: settings.client_timers,
        };
        let file = settings.file.as_deref();
        let file = file.map(|path| LineFile::open(path, &context.tasks)).transpose()?;
        let requests = agent.map(|agent| Requests::start(of_requests(), agent, context));
        let counters = Counters::new(meter);
        Ok(Self {
            file,
            backends: BackendNotes::new(meter.clone()),
            requests,
            counters,
            settings,
        })
    }

    /// The headers that lines show beside those that they always show.
    pub(crate) fn extra_headers(&self) -> &[(String, http::HeaderName)] {
        &self.settings.extra_headers
    }

    /// A request is over.
    pub(crate) fn request(&self, account: &Account) {
        let notes = account.endpoint().map(|endpoint| self.backends.of(endpoint));
        record::count(&self.counters, account, notes.as_deref());
        if self.requests.is_some() || self.file.is_some() {
            record::with(&self.settings, account, notes.as_deref(), |record| self.tell(record));
        }
    }

    fn tell(&self, record: &RequestRecord<'_>) {
        if let Some(requests) = &self.requests {
            requests.record(record);
        }
        if let Some(file) = &self.file {
            let mut line = Vec::with_capacity(LINE);
            write_line(&mut line, record, &self.settings.access_log, false);
            line.push(b'\n');
            file.append(line);
        }
    }

    /// A backend is asked.
    pub(crate) fn attempt(&self, endpoint: &weir_platform_gorouter_table::Endpoint) {
        Counters::add(&self.counters.total_requests, 1);
        if let Some(component) = &self.backends.of(endpoint).component {
            component.requests.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A registration or its end has come for a component.
    pub(crate) fn message(&self, component: Option<&str>, registers: bool) {
        self.backends.message(component, registers, &self.counters);
    }

    /// The router answered itself.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        record::refused(&self.counters, refusal);
    }

    /// Endpoints have lost their routes.
    pub(crate) fn pruned(&self, count: u64) {
        Counters::add(&self.counters.routes_pruned, count);
    }

    /// Forgets what was noted of backends that are gone.
    pub(crate) fn sweep(&self) {
        self.backends.sweep();
    }

    /// Sends what was told, and ends.
    pub(crate) async fn finish(&self) {
        if let Some(requests) = &self.requests {
            requests.finish().await;
        }
    }
}
