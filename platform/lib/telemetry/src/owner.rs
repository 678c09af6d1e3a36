//! Finds the component of spans and events. It records component spans and quiet spans, and signs spans when they end.

use std::sync::OnceLock;

use opentelemetry::KeyValue;
use opentelemetry::trace::TraceContextExt as _;
use tracing::dispatcher::WeakDispatch;
use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Event, Metadata, Subscriber};
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::{Layer, Registry};

use crate::quiet;
use crate::record::Record;

/// The span attribute in which the exporter of spans finds the component.
pub(crate) const COMPONENT: &str = "component";

/// The extension of spans that have the field `component`.
#[derive(Debug)]
pub(crate) struct ComponentName(pub(crate) String);

/// The extension of spans within which nothing is shipped.
#[derive(Debug)]
pub(crate) struct Quiet;

/// The information from the spans around an event or a span.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) component: Option<String>,
    pub(crate) quiet: bool,
}

impl Surroundings {
    /// Returns the information around the span `id`, also from spans that the calling layer does not see.
    pub(crate) fn around(dispatch: &Dispatch, id: Option<&Id>) -> Self {
        let registry: Option<&Registry> = dispatch.downcast_ref();
        let span = registry.zip(id).and_then(|(registry, id)| registry.span(id));
        Self::of(span.map(|span| span.scope()))
    }

    /// Returns the information around an event.
    pub(crate) fn of_event(dispatch: &Dispatch, event: &Event<'_>) -> Self {
        if event.is_root() {
            return Self::default();
        }
        match event.parent() {
            Some(parent) => Self::around(dispatch, Some(parent)),
            None => {
                let current = dispatch.downcast_ref::<Registry>().map(Subscriber::current_span);
                Self::around(dispatch, current.as_ref().and_then(|current| current.id()))
            }
        }
    }

    /// Collects the information from the innermost span outwards.
    pub(crate) fn of<'s, S>(scope: Option<Scope<'s, S>>) -> Self
    where
        S: Subscriber + for<'l> LookupSpan<'l>,
    {
        let mut found = Self::default();
        for span in scope.into_iter().flatten() {
            let extensions = span.extensions();
            found.quiet |= extensions.get::<Quiet>().is_some();
            // From the inside to the outside: the innermost span that names a component counts.
            if found.component.is_none() {
                found.component = extensions.get::<ComponentName>().map(|name| name.0.clone());
            }
        }
        found
    }
}

/// The layer that records component spans and quiet spans. Only these pass its filter, [`OwnerLayer::sees`].
#[derive(Debug)]
pub(crate) struct OwnerLayer;

impl OwnerLayer {
    pub(crate) fn sees(metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && (metadata.target() == quiet::TARGET || metadata.fields().field(COMPONENT).is_some())
    }
}

impl<S> Layer<S> for OwnerLayer
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if attributes.metadata().target() == quiet::TARGET {
            span.extensions_mut().insert(Quiet);
        }
        let mut record = Record::default();
        attributes.record(&mut record);
        let name = record.fields.into_iter().find(|(name, _)| *name == COMPONENT);
        if let Some((_, serde_json::Value::String(name))) = name {
            span.extensions_mut().insert(ComponentName(name));
        }
    }
}

/// The layer that signs spans with their component when they end. It must be before the OpenTelemetry layer, which ends
/// them, and have an equal filter.
#[derive(Debug, Default)]
pub(crate) struct SignLayer {
    dispatch: OnceLock<WeakDispatch>,
}

impl<S> Layer<S> for SignLayer
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        let _first = self.dispatch.set(dispatch.downgrade());
    }

    fn on_close(&self, id: Id, _context: Context<'_, S>) {
        let Some(dispatch) = self.dispatch.get().and_then(WeakDispatch::upgrade) else {
            return;
        };
        let surroundings = Surroundings::around(&dispatch, Some(&id));
        let Some(context) = get_otel_context(&id, &dispatch) else {
            return;
        };
        let span = context.span();
        if let Some(component) = surroundings.component {
            span.set_attribute(KeyValue::new(COMPONENT, component));
        }
        // `TimerProcessor` sees only OpenTelemetry attributes, so both facts are passed on as attributes.
        if surroundings.quiet {
            span.set_attribute(KeyValue::new(quiet::TARGET, true));
        }
    }
}

/// Returns the trace id and the span id, in hexadecimal, of the span around an event.
pub(crate) fn trace_ids(dispatch: &Dispatch, id: &Id) -> Option<(String, String)> {
    let context = get_otel_context(id, dispatch)?;
    let span = context.span();
    let ids = span.span_context();
    ids.is_valid()
        .then(|| (ids.trace_id().to_string(), ids.span_id().to_string()))
}
