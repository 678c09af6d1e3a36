//! Spans as timer envelopes: name, start and stop, with trace id, span id and attributes as tags.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use weir_service::clock::nanos_since_epoch;

use crate::identity::Identity;
use crate::outbox::Outbox;
use crate::owner::COMPONENT;
use crate::quiet;
use crate::record::{is_secret, push_cut};

/// The largest number of attributes in a timer. Further ones are left out.
const MOST_TAGS: usize = 32;
/// The largest size of a tag's value, in bytes.
const LONGEST_TAG: usize = 256;

/// Puts every span that ends into the outbox at once, so that the only queue is the one whose losses are counted.
#[derive(Debug)]
pub(crate) struct TimerProcessor {
    outbox: Arc<Outbox>,
    component: &'static str,
    instance_id: String,
}

impl TimerProcessor {
    pub(crate) fn new(outbox: Arc<Outbox>, component: &'static str, instance_id: String) -> Self {
        Self {
            outbox,
            component,
            instance_id,
        }
    }
}

impl SpanProcessor for TimerProcessor {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() || span.attributes.iter().any(|tag| tag.key.as_str() == quiet::TARGET) {
            return;
        }
        let component = span.attributes.iter().find(|tag| tag.key.as_str() == COMPONENT);
        let component = component.map_or(self.component.into(), |tag| tag.value.as_str());
        self.outbox.put(|writer| {
            writer
                .timestamp(nanos_since_epoch(span.end_time))
                .source_id(&component)
                .instance_id(&self.instance_id)
                .tag("origin", &Identity::of(&component).origin())
                .tag(COMPONENT, &component)
                .tag("trace_id", &span.span_context.trace_id().to_string())
                .tag("span_id", &span.span_context.span_id().to_string());
            if span.parent_span_id != SpanId::INVALID {
                writer.tag("parent_span_id", &span.parent_span_id.to_string());
            }
            if let Some(peer_type) = peer_type(&span.span_kind) {
                writer.tag("peer_type", peer_type);
            }
            match &span.status {
                Status::Unset => {}
                Status::Ok => {
                    writer.tag("status", "ok");
                }
                Status::Error { description } => {
                    writer.tag("status", "error");
                    if !description.is_empty() {
                        writer.tag("error", &cut(description));
                    }
                }
            }
            let attributes = span.attributes.iter().filter(|tag| tag.key.as_str() != COMPONENT);
            // Attributes may come from requests, so their number and size are limited.
            for attribute in attributes.take(MOST_TAGS) {
                let key = attribute.key.as_str();
                let value = if is_secret(key) {
                    "[redacted]".into()
                } else {
                    cut(&attribute.value.as_str())
                };
                writer.tag(key, &value);
            }
            writer.timer(
                &span.name,
                nanos_since_epoch(span.start_time),
                nanos_since_epoch(span.end_time),
            );
        });
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Returns the side of a call, in the words of Cloud Foundry's timers.
fn peer_type(kind: &SpanKind) -> Option<&'static str> {
    match kind {
        SpanKind::Server | SpanKind::Consumer => Some("Server"),
        SpanKind::Client | SpanKind::Producer => Some("Client"),
        SpanKind::Internal => None,
    }
}

fn cut(text: &str) -> String {
    let mut out = String::new();
    push_cut(&mut out, text, LONGEST_TAG);
    out
}
