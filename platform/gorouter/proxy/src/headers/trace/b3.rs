//! Zipkin's headers: one (`b3`) or several (`X-B3-…`).

use super::identifier::{SpanId, TraceId};

/// Reads the single header: `trace-span[-sampled[-parent]]`.
pub(super) fn single(text: &str) -> Option<(TraceId, SpanId)> {
    let mut parts = text.split('-');
    let (trace, span) = (TraceId::parse(parts.next()?)?, SpanId::parse(parts.next()?)?);
    let sampled = parts
        .next()
        .is_none_or(|sampled| matches!(sampled, "0" | "1" | "d" | "true" | "false"));
    let parent = parts.next().is_none_or(|parent| SpanId::parse(parent).is_some());
    (sampled && parent && parts.next().is_none()).then_some((trace, span))
}

/// Reads trace, span, parent, sampled and flags of the several headers; returns also the single header that says the same.
pub(super) fn several([trace, span, parent, sampled, flags]: [&str; 5]) -> Option<(TraceId, SpanId, String)> {
    let (trace, span) = (TraceId::parse(trace)?, SpanId::parse(span)?);
    let sampled = match (flags, sampled) {
        ("1", _) => "-d",
        (_, "1" | "true") => "-1",
        (_, "0" | "false") => "-0",
        (_, "") => "",
        _ => return None,
    };
    let parent = match parent {
        "" => String::new(),
        parent => format!("-{}", SpanId::parse(parent)?),
    };
    let single = format!("{trace}-{span}{sampled}{parent}");
    Some((trace, span, single))
}
