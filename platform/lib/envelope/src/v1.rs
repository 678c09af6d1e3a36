//! v1 (dropsonde) and v2 envelopes, each from the other, raw to raw (logging §5).
//!
//! [`to_v1`] gives what a v1 consumer of the firehose sees of a v2 envelope: one message, several for a gauge, or a reason
//! why there is none. [`from_v1`] gives the v2 envelope of a v1 message that came by UDP or over `DopplerIngestor`.
//!
//! Both read the encoded message where it lies and append the encoded result to a buffer. v1 is proto2, whose readers
//! refuse a message without its required fields; so none leaves here without them, and none is taken.
//!
//! | v2 | v1 |
//! |---|---|
//! | Log | LogMessage; Error if tag `__v1_type` says so |
//! | Counter | CounterEvent |
//! | Gauge with cpu, memory, disk and both quotas | one ContainerMetric |
//! | any other Gauge | one ValueMetric for each metric |
//! | Timer that has the tags of an HTTP request | HttpStartStop |
//! | Event | nothing |

mod from;
mod known;
mod method;
mod payload;
mod to;
mod uuid;

pub use from::{Arrival, FromV1Error, from_v1};
pub use to::{Converted, Converter, Unconvertible, to_v1};

/// Field numbers of `events.Envelope`.
mod field {
    pub(super) const ORIGIN: u32 = 1;
    pub(super) const EVENT_TYPE: u32 = 2;
    pub(super) const TIMESTAMP: u32 = 6;
    pub(super) const HTTP_START_STOP: u32 = 7;
    pub(super) const LOG_MESSAGE: u32 = 8;
    pub(super) const VALUE_METRIC: u32 = 9;
    pub(super) const COUNTER_EVENT: u32 = 10;
    pub(super) const ERROR: u32 = 11;
    pub(super) const CONTAINER_METRIC: u32 = 12;
    pub(super) const DEPLOYMENT: u32 = 13;
    pub(super) const JOB: u32 = 14;
    pub(super) const INDEX: u32 = 15;
    pub(super) const IP: u32 = 16;
    pub(super) const TAGS: u32 = 17;
}

/// What a v1 envelope says that it is. The discriminants are those of `events.Envelope.EventType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventType {
    HttpStartStop = 4,
    LogMessage = 5,
    ValueMetric = 6,
    CounterEvent = 7,
    Error = 8,
    ContainerMetric = 9,
}

impl EventType {
    /// The type of that number.
    const fn of(number: i32) -> Option<Self> {
        Some(match number {
            4 => Self::HttpStartStop,
            5 => Self::LogMessage,
            6 => Self::ValueMetric,
            7 => Self::CounterEvent,
            8 => Self::Error,
            9 => Self::ContainerMetric,
            _ => return None,
        })
    }

    /// Its name: the value of tag `__v1_type`.
    const fn as_str(self) -> &'static str {
        match self {
            Self::HttpStartStop => "HttpStartStop",
            Self::LogMessage => "LogMessage",
            Self::ValueMetric => "ValueMetric",
            Self::CounterEvent => "CounterEvent",
            Self::Error => "Error",
            Self::ContainerMetric => "ContainerMetric",
        }
    }

    /// The field of the envelope that holds its payload.
    const fn payload_field(self) -> u32 {
        match self {
            Self::HttpStartStop => field::HTTP_START_STOP,
            Self::LogMessage => field::LOG_MESSAGE,
            Self::ValueMetric => field::VALUE_METRIC,
            Self::CounterEvent => field::COUNTER_EVENT,
            Self::Error => field::ERROR,
            Self::ContainerMetric => field::CONTAINER_METRIC,
        }
    }
}

#[cfg(test)]
mod tests;
