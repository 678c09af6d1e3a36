//! W3C trace context: `traceparent` and `tracestate` (<https://www.w3.org/TR/trace-context/>).

use std::fmt;

use super::identifier::{SpanId, TraceId};

/// The flag of a trace that is recorded.
pub(super) const SAMPLED: u8 = 1;

/// The name of the router in `tracestate`.
const VENDOR: &str = "gorouter";

/// Longer states are begun anew.
const LONGEST_STATE: usize = 2048;

/// The header `traceparent`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parent {
    /// The trace.
    pub(super) trace: TraceId,
    span: SpanId,
    /// What the caller says of the trace.
    pub(super) flags: u8,
}

impl Parent {
    pub(super) const fn new(trace: TraceId, span: SpanId, flags: u8) -> Self {
        Self { trace, span, flags }
    }

    /// Reads `version-trace-span-flags`, of any version that has this length.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut parts = text.split('-');
        let mut part = |length| parts.next().filter(|part: &&str| part.len() == length);
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        u8::from_str_radix(version, 16).ok()?;
        (text.len() == 55).then_some(Self {
            trace: TraceId::parse(trace)?,
            span: SpanId::parse(span)?,
            flags: u8::from_str_radix(flags, 16).ok()?,
        })
    }
}

impl fmt::Display for Parent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{}-{}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// The header `tracestate`: the router's entry first, then what others said `before`.
pub(super) fn state(before: &str, tenant: Option<&str>, span: SpanId) -> String {
    let own = |key: &str| match (tenant, key.split_once('@')) {
        (Some(tenant), Some(key)) => key == (tenant, VENDOR),
        (None, None) => key == VENDOR,
        _ => false,
    };
    let mut state = match tenant {
        Some(tenant) => format!("{tenant}@{VENDOR}={span}"),
        None => format!("{VENDOR}={span}"),
    };
    let before = if before.len() > LONGEST_STATE { "" } else { before };
    for entry in before.split(',').map(str::trim) {
        if entry.split_once('=').is_some_and(|(key, _)| !own(key)) {
            state.push(',');
            state.push_str(entry);
        }
    }
    state
}
