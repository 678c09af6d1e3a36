//! The v1 envelopes that a stream carries, and the v2 selectors that fetch them.
//!
//! As in the original's router (logging §8), the v1 kind "log" is the LogMessage and "metric" is everything else. The
//! app of an envelope is the app id of a LogMessage, a ContainerMetric or an HttpStartStop, and other types have none.
//! So counters and value metrics of an app are not in its stream.
//!
//! There is one difference to the original. The rare v1 Error, which is a log in v2, is in the unfiltered firehose but
//! not in the one with `filter-type=metrics`. Fetching all logs to find the errors would cost a metrics nozzle more
//! than everything else.

use weir_envelope::batch::Kind;
use weir_envelope::selector::Selector;
use weir_envelope::wire::{Fields, Value};
use weir_proto::loggregator_v2 as v2;

/// The event types of `events.Envelope`.
mod event_type {
    pub(super) const HTTP_START_STOP: u64 = 4;
    pub(super) const LOG_MESSAGE: u64 = 5;
    pub(super) const CONTAINER_METRIC: u64 = 9;
}

/// The `filter-type` parameter of a firehose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterType {
    All,
    Logs,
    Metrics,
}

/// The envelopes that one stream carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    /// All v1 envelopes.
    Everything,
    /// The type LogMessage.
    Logs,
    /// All types but LogMessage.
    Metrics,
    /// The envelopes of the app with this GUID.
    App(String),
}

impl From<FilterType> for Filter {
    fn from(filter: FilterType) -> Self {
        match filter {
            FilterType::All => Self::Everything,
            FilterType::Logs => Self::Logs,
            FilterType::Metrics => Self::Metrics,
        }
    }
}

impl Filter {
    /// Returns the selectors for the subscription. There are none for events, because v1 has no events.
    pub(crate) fn selectors(&self) -> Vec<v2::Selector> {
        let (kinds, source_id): (&[Kind], &str) = match self {
            Self::Everything => (&[Kind::Log, Kind::Counter, Kind::Gauge, Kind::Timer], ""),
            Self::Logs => (&[Kind::Log], ""),
            Self::Metrics => (&[Kind::Counter, Kind::Gauge, Kind::Timer], ""),
            Self::App(guid) => (&[Kind::Log, Kind::Gauge, Kind::Timer], guid),
        };
        kinds
            .iter()
            .filter_map(|kind| Selector::all_of(*kind, source_id))
            .map(|selector| selector.to_proto())
            .collect()
    }

    /// Returns whether the encoded `events.Envelope` is sent.
    pub(crate) fn wants(&self, v1: &[u8]) -> bool {
        match self {
            Self::Everything => true,
            Self::Logs => event_type(v1) == event_type::LOG_MESSAGE,
            Self::Metrics => event_type(v1) != event_type::LOG_MESSAGE,
            Self::App(_) => matches!(
                event_type(v1),
                event_type::LOG_MESSAGE | event_type::CONTAINER_METRIC | event_type::HTTP_START_STOP
            ),
        }
    }
}

/// Returns the type of an encoded `events.Envelope`.
fn event_type(v1: &[u8]) -> u64 {
    Fields::new(v1)
        .map_while(Result::ok)
        .find_map(|field| match field {
            (2, Value::Varint(event_type)) => Some(event_type),
            _ => None,
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The types 4 to 9 that each filter passes.
    #[test]
    fn event_types_by_filter() {
        let passed = |filter: Filter| -> Vec<u8> {
            (4..=9)
                .filter(|event_type| filter.wants(&[0x0a, 1, b'o', 0x10, *event_type]))
                .collect()
        };
        assert_eq!(passed(Filter::Everything), [4, 5, 6, 7, 8, 9]);
        assert_eq!(passed(Filter::Logs), [5]);
        assert_eq!(passed(Filter::Metrics), [4, 6, 7, 8, 9]);
        assert_eq!(passed(Filter::App(String::new())), [4, 5, 9]);
    }

    #[test]
    fn an_app_stream_selects_by_source() {
        let selectors = Filter::App("guid".to_owned()).selectors();
        assert_eq!(selectors.len(), 3);
        assert!(
            selectors
                .iter()
                .all(|selector| selector.source_id == "guid" && selector.message.is_some())
        );
        assert!(
            Filter::Everything
                .selectors()
                .iter()
                .all(|selector| selector.source_id.is_empty())
        );
    }
}
