//! The metric names that a selector asks for, as a key for looking up groups.
//!
//! The key of a counter is its name. The key of a gauge is the sorted set of its metrics' names, each after its length.
//! A selector asks for exactly this set in any order, and a name may contain any character.

use weir_envelope::batch::RawEnvelope;
use weir_envelope::selector::PayloadFilter;
use weir_envelope::view::Message;

/// Returns the key of a selector, or `None` if it has no name filter.
pub(crate) fn of_selector(filter: &PayloadFilter) -> Option<Box<[u8]>> {
    match filter {
        PayloadFilter::Counter(Some(name)) => Some(name.as_bytes().into()),
        PayloadFilter::Gauge(names) if !names.is_empty() => {
            let mut key = Vec::new();
            write_set(&mut key, names.iter().map(String::as_str));
            Some(key.into())
        }
        _ => None,
    }
}

/// Calls `look_up` with the key of an envelope. Does not call it if the envelope has no names.
pub(crate) fn of_envelope<T>(envelope: RawEnvelope<'_>, look_up: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
    match envelope.view().message() {
        Message::Counter { name, .. } => look_up(name.as_bytes()),
        Message::Gauge(metrics) => {
            let mut names: Vec<&str> = metrics.map(|metric| metric.name).collect();
            names.sort_unstable();
            names.dedup();
            let mut key = Vec::new();
            write_set(&mut key, names.into_iter());
            look_up(&key)
        }
        _ => None,
    }
}

/// Appends sorted names without duplicates to `key`.
fn write_set<'n>(key: &mut Vec<u8>, names: impl Iterator<Item = &'n str>) {
    for name in names {
        key.extend_from_slice(&name.len().to_ne_bytes());
        key.extend_from_slice(name.as_bytes());
    }
}
