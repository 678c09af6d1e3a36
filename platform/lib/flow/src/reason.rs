//! The reasons for which envelopes are dropped: a closed set, so that dashboards and tests can list all of them.

/// The reason for which envelopes were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A connected consumer did not keep up.
    SlowConsumer,
    /// The next hop vanished before it acknowledged them; some may have arrived.
    PeerLost,
    /// The consumer vanished while they were queued for it or not acknowledged yet.
    ConsumerGone,
    /// The bytes are not a valid envelope.
    Malformed,
    /// There is no destination.
    NoDestination,
    /// A buffer was full, and their source filled it.
    BufferFull,
    /// They have no form in the consumer's protocol.
    Unconvertible,
    /// A single envelope is larger than the consumer accepts.
    TooLarge,
    /// The component stopped before they could be sent.
    ShuttingDown,
    /// The operator turned logs off.
    LogsDisabled,
    /// A drain was away or slow for so long that its backlog on disk was full.
    SpillFull,
    /// The backlog on disk could not be written or read.
    SpillFailed,
    /// The consumer refuses them for good.
    Rejected,
}

impl Reason {
    /// The name of the reason in metrics, reports and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlowConsumer => "slow_consumer",
            Self::PeerLost => "peer_lost",
            Self::ConsumerGone => "consumer_gone",
            Self::Malformed => "malformed",
            Self::NoDestination => "no_destination",
            Self::BufferFull => "buffer_full",
            Self::Unconvertible => "unconvertible",
            Self::TooLarge => "too_large",
            Self::ShuttingDown => "shutting_down",
            Self::LogsDisabled => "logs_disabled",
            Self::SpillFull => "spill_full",
            Self::SpillFailed => "spill_failed",
            Self::Rejected => "rejected",
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
