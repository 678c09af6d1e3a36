//! Why a connection ends.

use crate::protocol::Refused;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client has closed the connection, or it broke.
    Gone,
    /// What the client sent is no operation.
    Refused(Refused),
    /// The client is not one that may connect.
    Unauthorized,
    /// The client has not said who it is in time.
    Late,
    /// The client answers no pings.
    Stale,
    /// The client does not take what was published for it fast enough.
    SlowConsumer,
    /// The client speaks another version of the protocol.
    Version,
    /// The client wants to be told of missing responders, and takes no headers, in which it would be told.
    NoHeaders,
    /// The client sends headers, and has not said that it knows them.
    UnexpectedHeader,
    /// Unfinished messages of all clients use too much memory.
    Busy,
    /// The server stops.
    Stopping,
}

impl Ending {
    /// What the client is told, in the words of nats-server where it has any.
    pub(crate) fn text(self) -> Option<&'static str> {
        Some(match self {
            Self::Gone | Self::SlowConsumer | Self::Stopping => return None,
            Self::Refused(Refused::UnknownOperation) => "Unknown Protocol Operation",
            Self::Refused(Refused::Arguments) => "Parser Error",
            Self::Refused(Refused::ControlLine) => "maximum control line exceeded",
            Self::Refused(Refused::Payload) => "Maximum Payload Violation",
            Self::Unauthorized => "Authorization Violation",
            Self::Late => "Authentication Timeout",
            Self::Stale => "Stale Connection",
            Self::Version => "invalid client protocol",
            Self::NoHeaders => "no responders requires headers support",
            Self::UnexpectedHeader => "message headers not supported",
            Self::Busy => "too many unfinished messages",
        })
    }

    /// The reason in logs and metrics.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Gone => "client_closed",
            Self::Refused(Refused::ControlLine) => "control_line",
            Self::Refused(Refused::Payload) => "payload",
            Self::Refused(_) => "protocol",
            Self::Unauthorized => "unauthorized",
            Self::Late => "authentication_timeout",
            Self::Stale => "stale",
            Self::SlowConsumer => "slow_consumer",
            Self::Version => "protocol_version",
            Self::NoHeaders | Self::UnexpectedHeader => "no_headers",
            Self::Busy => "busy",
            Self::Stopping => "stopping",
        }
    }
}
