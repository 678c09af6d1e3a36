//! The formats of standard error: lines for people, or one JSON object per line. Both redact secrets.

mod human;
mod json;

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::record::Record;

/// The format of standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One readable line per event, with colours on a terminal.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

impl<S> FormatEvent<S, SpanFields> for Format
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, SpanFields>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        match self {
            Self::Human => human::write(context, writer, event),
            Self::Json => json::write(context, writer, event),
        }
    }
}

/// Formats the fields of a span as `key=value …`, without the component, which is shown elsewhere.
#[derive(Debug)]
pub(crate) struct SpanFields;

impl<'writer> FormatFields<'writer> for SpanFields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut record = Record::default();
        fields.record(&mut record);
        record
            .fields
            .retain(|(name, _)| *name != crate::owner::COMPONENT && !name.starts_with("otel."));
        record.write(&mut writer)
    }
}
