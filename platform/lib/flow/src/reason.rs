//! Why an envelope was dropped: a closed set, so that every dashboard and test can name them all.

/// Why envelopes were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A consumer that was there did not keep up.
    SlowConsumer,
    /// The next hop vanished before it said that it had handed them on; some may have arrived.
    PeerLost,
    /// The consumer vanished with them still queued for it, or not yet acknowledged.
    ConsumerGone,
    /// The bytes are not a valid envelope.
    Malformed,
    /// Nobody could be reached to hand them to.
    NoDestination,
    /// A buffer shared by several sources was full and this source filled it.
    BufferFull,
    /// They were kept as long as their budget allowed.
    Expired,
    /// They cannot be expressed in the consumer's protocol.
    Unconvertible,
    /// One envelope alone exceeds what a client accepts.
    TooLarge,
    /// The component stopped before they could be handed on.
    ShuttingDown,
    /// The operator turned logs off.
    LogsDisabled,
    /// A drain was away or slow for longer than its backlog on disk has room.
    SpillFull,
    /// The backlog on disk could not be written or read.
    SpillFailed,
    /// A drain refuses them and always will.
    Rejected,
}

impl Reason {
    /// The reason as metrics, reports and SQL spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlowConsumer => "slow_consumer",
            Self::PeerLost => "peer_lost",
            Self::ConsumerGone => "consumer_gone",
            Self::Malformed => "malformed",
            Self::NoDestination => "no_destination",
            Self::BufferFull => "buffer_full",
            Self::Expired => "expired",
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
