//! `2026-11-23T03:03:24.123456Z  WARN doppler weir_doppler_server::egress: consumer is slow count=3 peer=10.0.0.1`

use std::fmt::{self, Write as _};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::SpanFields;
use crate::library::swallowed;
use crate::neutral::neutral;
use crate::owner::Surroundings;
use crate::record::Record;

const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

pub(super) fn write<S>(context: &FmtContext<'_, S, SpanFields>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    let mut record = Record::default();
    event.record(&mut record);
    let (dim, reset) = if out.has_ansi_escapes() { (DIM, RESET) } else { ("", "") };
    out.write_str(dim)?;
    SystemTime.format_time(&mut out)?;
    let level = *event.metadata().level();
    let colour = if out.has_ansi_escapes() { colour(level) } else { "" };
    write!(out, "{reset} {colour}{:>5}{reset} ", level.as_str())?;
    if let Some(component) = Surroundings::of(context.event_scope()).component {
        write!(out, "{component} ")?;
    }
    let target = record.log_target.as_deref().unwrap_or(event.metadata().target());
    write!(out, "{dim}{target}:{reset} ")?;
    let mut text = String::new();
    record.write(&mut text)?;
    match swallowed() {
        0 => {}
        count => write!(text, " swallowed={count}")?,
    }
    // A terminal interprets control characters, now or when somebody looks at the file.
    out.write_str(&neutral(&text))?;
    for span in context.event_scope().into_iter().flatten() {
        if let Some(fields) = span.extensions().get::<FormattedFields<SpanFields>>()
            && !fields.is_empty()
        {
            write!(out, " {dim}{}{reset}", neutral(fields))?;
        }
    }
    writeln!(out)
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        _ => "\x1b[35m",
    }
}
