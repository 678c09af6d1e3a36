//! `{"timestamp":"2026-11-23T03:03:24.123456Z","level":"warn","component":"doppler","target":"…","message":"…","fields":{…},"spans":["…"]}`

use std::fmt;

use serde_json::{Map, Value};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

use super::SpanFields;
use crate::library::swallowed;
use crate::owner::Surroundings;
use crate::record::Record;

pub(super) fn write<S>(context: &FmtContext<'_, S, SpanFields>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    let mut record = Record::default();
    event.record(&mut record);
    match swallowed() {
        0 => {}
        count => record.fields.push(("swallowed", count.into())),
    }
    let mut timestamp = String::new();
    SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
    let mut line = Map::new();
    let mut put = |name: &str, value: Value| {
        line.insert(name.to_owned(), value);
    };
    put("timestamp", timestamp.into());
    put("level", event.metadata().level().as_str().to_lowercase().into());
    if let Some(component) = Surroundings::of(context.event_scope()).component {
        put("component", component.into());
    }
    put(
        "target",
        record.log_target.as_deref().unwrap_or(event.metadata().target()).into(),
    );
    put("message", record.message.into());
    if !record.fields.is_empty() {
        let fields: Map<String, Value> = record
            .fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        put("fields", fields.into());
    }
    let mut spans: Vec<Value> = Vec::new();
    for span in context.event_scope().into_iter().flatten() {
        if let Some(fields) = span.extensions().get::<FormattedFields<SpanFields>>()
            && !fields.is_empty()
        {
            spans.push(format!("{}{{{fields}}}", span.name()).into());
        }
    }
    if !spans.is_empty() {
        put("spans", spans.into());
    }
    writeln!(out, "{}", Value::Object(line))
}
