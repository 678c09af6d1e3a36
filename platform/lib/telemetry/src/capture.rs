//! Copies tracing events into the outbox as log envelopes.

use std::sync::{Arc, OnceLock};

use tracing::dispatcher::WeakDispatch;
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::FormattedFields;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use weir_envelope::view::Stream;
use weir_service::clock;

use crate::format::SpanFields;
use crate::identity::Identity;
use crate::neutral::neutral;
use crate::outbox::Outbox;
use crate::owner::{Surroundings, trace_ids};
use crate::quiet;
use crate::record::{Record, push_cut};

/// The largest size in bytes of the text of a log envelope.
const LONGEST_TEXT: usize = 16 * 1024;

/// The source type of all components' logs. The original's logs have it in `cf logs`.
const SOURCE_TYPE: &str = "LGR";

/// The tracing layer that copies events.
#[derive(Debug)]
pub(crate) struct CaptureLayer {
    outbox: Arc<Outbox>,
    /// The component of events that are outside of any component span.
    component: &'static str,
    instance_id: String,
    dispatch: OnceLock<WeakDispatch>,
}

impl CaptureLayer {
    pub(crate) fn new(outbox: Arc<Outbox>, component: &'static str, instance_id: String) -> Self {
        Self {
            outbox,
            component,
            instance_id,
            dispatch: OnceLock::new(),
        }
    }
}

impl<S> Layer<S> for CaptureLayer
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let _first = self.dispatch.set(dispatch.downgrade());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let metadata = event.metadata();
        // A layer cannot hold its own dispatcher strongly, or neither would ever be dropped.
        let Some(dispatch) = self.dispatch.get().and_then(WeakDispatch::upgrade) else {
            return;
        };
        let surroundings = Surroundings::of_event(&dispatch, event);
        // An event while telemetry is shipped would cause the next shipment, without end.
        if surroundings.quiet {
            return;
        }
        let mut record = Record::default();
        event.record(&mut record);
        let target = record.log_target.as_deref().unwrap_or(metadata.target());
        if !quiet::may_ship(target) {
            return;
        }
        let mut line = String::new();
        let _infallible = record.write(&mut line);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(fields) = span.extensions().get::<FormattedFields<SpanFields>>()
                && !fields.is_empty()
            {
                line.push(' ');
                line.push_str(fields);
            }
        }
        let mut text = String::new();
        // A reader may show the text unchanged on a terminal, so control characters are replaced.
        push_cut(&mut text, &neutral(&line), LONGEST_TEXT);

        let ids = context
            .event_span(event)
            .and_then(|span| trace_ids(&dispatch, &span.id()));
        let component = surroundings.component.as_deref().unwrap_or(self.component);
        let stream = if *metadata.level() <= Level::WARN {
            Stream::Err
        } else {
            Stream::Out
        };
        self.outbox.put(|writer| {
            writer
                .timestamp(clock::now_nanos())
                .source_id(component)
                .instance_id(&self.instance_id)
                .tag("origin", &Identity::of(component).origin())
                .tag("component", component)
                .tag("source_type", SOURCE_TYPE)
                .tag("level", metadata.level().as_str())
                .tag("target", target);
            if let Some((trace_id, span_id)) = &ids {
                writer.tag("trace_id", trace_id).tag("span_id", span_id);
            }
            writer.log(text.as_bytes(), stream);
        });
    }
}
