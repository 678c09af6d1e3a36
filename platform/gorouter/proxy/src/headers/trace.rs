//! The trace that a request belongs to, and the number that it has in all logs.
//!
//! A trace that came with the request is continued (B3 first, as Zipkin has it, then W3C), otherwise one begins. The request's
//! number is the trace's where that has the shape of a UUID, so that one number finds everything.

use http::HeaderMap;

use super::names::{
    B3, TRACEPARENT, TRACESTATE, X_B3_FLAGS, X_B3_PARENT_SPAN_ID, X_B3_SAMPLED, X_B3_SPAN_ID, X_B3_TRACE_ID,
    X_VCAP_REQUEST_ID,
};
use super::{text, value};
use crate::settings::Tracing;

mod b3;
mod identifier;
mod w3c;

pub(crate) use identifier::{Identifier, SpanId, TraceId};

/// The trace of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trace {
    /// The trace.
    pub(crate) trace: TraceId,
    /// The span of this hop.
    pub(crate) span: SpanId,
    /// The number of the request.
    pub(crate) request: Identifier,
}

/// Continues the request's trace or begins one, and writes it and the request's number into `headers`.
pub(crate) fn apply(headers: &mut HeaderMap, rule: &Tracing) -> Trace {
    let mut found = None;
    if rule.b3 {
        found = Some(continue_b3(headers));
    }
    if rule.w3c {
        found = Some(continue_w3c(headers, found, rule.w3c_tenant.as_deref()));
    }
    let trace = found.unwrap_or_else(Trace::begin);
    headers.insert(X_VCAP_REQUEST_ID.clone(), trace.request.header());
    trace
}

impl Trace {
    /// A trace that begins here.
    fn begin() -> Self {
        let request = Identifier::random();
        Self {
            trace: TraceId::of(request),
            span: SpanId::random(),
            request,
        }
    }

    /// A trace that came with the request.
    fn continued(trace: TraceId, span: SpanId) -> Self {
        let request = trace.identifier().unwrap_or_else(Identifier::random);
        Self { trace, span, request }
    }
}

fn continue_b3(headers: &mut HeaderMap) -> Trace {
    if let Some((trace, span)) = b3::single(text(headers, &B3)) {
        return Trace::continued(trace, span);
    }
    let several = [
        text(headers, &X_B3_TRACE_ID),
        text(headers, &X_B3_SPAN_ID),
        text(headers, &X_B3_PARENT_SPAN_ID),
        text(headers, &X_B3_SAMPLED),
        text(headers, &X_B3_FLAGS),
    ];
    if !several[0].is_empty()
        && !several[1].is_empty()
        && let Some((trace, span, single)) = b3::several(several)
    {
        headers.insert(B3.clone(), value(single));
        return Trace::continued(trace, span);
    }
    let trace = Trace::begin();
    headers.insert(X_B3_TRACE_ID.clone(), value(trace.trace.to_string()));
    headers.insert(X_B3_SPAN_ID.clone(), value(trace.span.to_string()));
    headers.insert(B3.clone(), value(format!("{}-{}", trace.trace, trace.span)));
    trace
}

fn continue_w3c(headers: &mut HeaderMap, found: Option<Trace>, tenant: Option<&str>) -> Trace {
    let came = w3c::Parent::parse(text(headers, &TRACEPARENT));
    let (trace, parent, state) = match came {
        None => {
            let trace = found.unwrap_or_else(Trace::begin);
            let state = w3c::state("", tenant, trace.span);
            (trace, w3c::Parent::new(trace.trace, trace.span, w3c::SAMPLED), state)
        }
        Some(came) => {
            let span = SpanId::random();
            let trace = found.unwrap_or_else(|| Trace::continued(came.trace, span));
            let state = w3c::state(text(headers, &TRACESTATE), tenant, span);
            (trace, w3c::Parent::new(came.trace, span, came.flags), state)
        }
    };
    headers.insert(TRACEPARENT.clone(), value(parent.to_string()));
    headers.insert(TRACESTATE.clone(), value(state));
    trace
}

#[cfg(test)]
mod tests;
