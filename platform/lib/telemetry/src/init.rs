//! Combines the parts of telemetry and installs them for the process.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use thiserror::Error;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};
use weir_error::{Classify, ErrorKind};
use weir_flow::{Capacity, Ledger};
use weir_service::COMPONENT_SPAN_TARGET;

use crate::capture::CaptureLayer;
use crate::format::{Format, SpanFields};
use crate::library::LibraryLimit;
use crate::log_file::LogFile;
use crate::metrics::EnvelopeExporter;
use crate::outbox::Outbox;
use crate::owner::{OwnerLayer, SignLayer};
use crate::quiet;
use crate::spans::TimerProcessor;

/// The levels of libraries that log much at `info`.
/// The client of NATS is off: what happens to its connection is reported by `weir-nats-client`.
const CALM: [&str; 6] = [
    "h2=warn",
    "hyper=warn",
    "tonic=warn",
    "rustls=warn",
    "tower=warn",
    "async_nats=off",
];

/// The settings of telemetry.
#[derive(Debug, Clone)]
pub struct Options {
    /// The component of telemetry that is outside of any component span.
    pub component: &'static str,
    /// The format of standard error.
    pub format: Format,
    /// The filter for all logs and spans: `info`, `warn,weir_doppler_server=debug`.
    pub level: String,
    /// A stricter filter for standard error. What it removes is still shipped.
    pub stderr_level: Option<String>,
    /// The instance id of all envelopes.
    pub instance_id: String,
    /// The interval at which metrics are collected.
    pub metrics_every: Duration,
    /// The capacity of the outbox.
    pub capacity: Capacity,
    /// The file to which standard error is appended, if it should be kept within [`crate::LOG_FILE_BYTES`].
    pub log_file: Option<PathBuf>,
    /// The ledger of the outbox. If there is none, it counts in memory.
    pub ledger: Option<Arc<Ledger>>,
}

impl Options {
    /// Returns the default settings of a component: level `info`, the format for people, metrics every five seconds,
    /// and an outbox of at most 10,000 envelopes or 8 MiB.
    #[must_use]
    pub fn new(component: &'static str) -> Self {
        Self {
            component,
            format: Format::Human,
            level: "info".to_owned(),
            stderr_level: None,
            instance_id: "0".to_owned(),
            metrics_every: Duration::from_secs(5),
            capacity: Capacity {
                envelopes: 10_000,
                bytes: 8 << 20,
            },
            log_file: None,
            ledger: None,
        }
    }
}

/// The reason for which telemetry cannot be installed.
#[derive(Debug, Error)]
pub enum InitError {
    /// The level is not a valid filter.
    #[error("log level `{level}` is not usable")]
    Level {
        /// The level as it was given.
        level: String,
        /// The error of the parser.
        source: ParseError,
    },
    /// Telemetry has been installed before.
    #[error("telemetry is installed already")]
    Installed,
}

impl Classify for InitError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Level { .. } => ErrorKind::InvalidInput,
            Self::Installed => ErrorKind::Internal,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Level { .. } => {
                Some("write `error`, `warn`, `info`, `debug` or `trace`, or `info,some_crate=debug`".to_owned())
            }
            Self::Installed => None,
        }
    }
}

/// The installed telemetry.
#[derive(Debug)]
pub struct Telemetry {
    outbox: Arc<Outbox>,
    meters: SdkMeterProvider,
    tracers: SdkTracerProvider,
}

/// Installs telemetry for this process. This can be done once.
///
/// # Errors
/// Returns an error if the level is not a valid filter or telemetry has been installed before.
#[expect(clippy::disallowed_methods, reason = "the formats make text of others neutral")]
pub fn init(mut options: Options) -> Result<Telemetry, InitError> {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let instance_id = options.instance_id.clone();
    let component = options.component;
    let writer = match options.log_file.take() {
        Some(path) => BoxMakeWriter::new(LogFile::new(path)),
        None => BoxMakeWriter::new(io::stderr),
    };
    let (subscriber, telemetry) = assemble(options, writer, colour)?;
    subscriber.try_init().map_err(|_| InitError::Installed)?;
    crate::event::install(&telemetry.outbox, instance_id);
    opentelemetry::global::set_meter_provider(telemetry.meters.clone());
    opentelemetry::global::meter(component)
        .u64_observable_counter("log_lines_swallowed")
        .with_description("Lines that were left out of the log because they repeated one of the last second.")
        .with_callback(|counter| counter.observe(weir_service::lines_swallowed(), &[]))
        .build();
    Ok(telemetry)
}

/// Combines all parts without installing them.
pub(crate) fn assemble<W>(
    options: Options,
    writer: W,
    colour: bool,
) -> Result<(impl Subscriber + Send + Sync + 'static, Telemetry), InitError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let Options {
        component,
        format,
        level,
        stderr_level,
        instance_id,
        metrics_every,
        capacity,
        log_file: _,
        ledger,
    } = options;
    let ledger = ledger.unwrap_or_else(|| Ledger::in_memory("telemetry"));
    let outbox = Outbox::new(capacity, ledger, &instance_id);

    let exporter = EnvelopeExporter::new(Arc::clone(&outbox), instance_id.clone());
    let reader = PeriodicReader::builder(exporter).with_interval(metrics_every).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    let timers = TimerProcessor::new(Arc::clone(&outbox), component, instance_id.clone());
    let tracers = SdkTracerProvider::builder().with_span_processor(timers).build();

    // The layers are in the order in which an event passes through them.
    let subscriber = Registry::default()
        // First, because the other layers need the component of a span.
        .with(OwnerLayer.with_filter(filter_fn(OwnerLayer::sees)))
        // Second, because it stores the fields of spans as text, which the capture layer reads.
        .with(
            tracing_subscriber::fmt::layer()
                .fmt_fields(SpanFields)
                .event_format(format)
                .with_ansi(colour)
                .with_writer(writer)
                .with_filter(filter(stderr_level.as_deref().unwrap_or(&level))?.and(LibraryLimit::default())),
        )
        .with(
            CaptureLayer::new(Arc::clone(&outbox), component, instance_id)
                .with_filter(filter(&level)?.and(filter_fn(|metadata| quiet::may_ship(metadata.target())))),
        )
        // Signs spans before the last layer ends them.
        .with(SignLayer::default().with_filter(timed()))
        .with(
            tracing_opentelemetry::layer()
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_tracer(tracers.tracer("weir"))
                .with_filter(timed()),
        );
    Ok((
        subscriber,
        Telemetry {
            outbox,
            meters,
            tracers,
        },
    ))
}

/// Parses a filter. Verbose libraries are limited to warnings, unless the filter names them.
fn filter(level: &str) -> Result<EnvFilter, InitError> {
    let mut directives = level.to_owned();
    for calm in CALM {
        let library = calm.split('=').next().unwrap_or(calm);
        if !level.contains(library) {
            directives = format!("{calm},{directives}");
        }
    }
    EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(&directives)
        .map_err(|source| InitError::Level {
            level: level.to_owned(),
            source,
        })
}

/// Returns the filter for spans that become timers: those of level `info` and above, except component spans and spans
/// of the shipping.
fn timed() -> tracing_subscriber::filter::FilterFn<fn(&Metadata<'_>) -> bool> {
    fn is_timed(metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
            && *metadata.level() <= tracing::Level::INFO
            && metadata.target() != COMPONENT_SPAN_TARGET
            && quiet::may_ship(metadata.target())
    }
    filter_fn(is_timed as fn(&Metadata<'_>) -> bool)
}

impl Telemetry {
    /// Returns the outbox, in which envelopes wait to be shipped.
    #[must_use]
    pub fn outbox(&self) -> Arc<Outbox> {
        Arc::clone(&self.outbox)
    }

    /// Collects the metrics now and not at the next interval. The collecting thread is waited for on a blocking thread
    /// of tokio.
    pub async fn collect(&self) {
        let meters = self.meters.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "there is no context here, and it is waited for at once"
        )]
        let collected = tokio::task::spawn_blocking(move || meters.force_flush()).await;
        if !matches!(collected, Ok(Ok(()))) {
            tracing::warn!(target: "weir_telemetry", "metrics could not be collected");
        }
    }

    /// Collects the metrics for the last time and closes the outbox, so that draining it comes to an end. What is
    /// logged later appears on standard error only and is counted as lost.
    pub async fn close(&self) {
        self.collect().await;
        if let Err(error) = self.tracers.force_flush() {
            tracing::warn!(target: "weir_telemetry", error = %error, "spans could not be flushed");
        }
        self.outbox.close();
    }
}

#[cfg(test)]
mod tests;
