//! Converts v1 (dropsonde) envelopes to v2 and back, from encoded bytes to encoded bytes (logging §5).
//!
//! [`to_v1`] converts a v2 envelope for a v1 consumer of the firehose. The result is one message, several for a gauge,
//! or the reason why there is none. [`from_v1`] converts a v1 message that came by UDP or over `DopplerIngestor`.
//!
//! Both borrow the encoded message and append the encoded result to a buffer. v1 is proto2, whose readers refuse a
//! message that lacks a required field. So every message that is written has them, and a message without them is
//! refused.
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

/// The type of a v1 envelope. The discriminants are those of `events.Envelope.EventType`.
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
    /// Returns the type of a number on the wire.
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

    /// The name of the type, which is the value of tag `__v1_type`.
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

    /// The number of the envelope's field that holds the payload of this type.
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
