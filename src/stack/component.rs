//! The components of a stack, and in which order they start and stop.

use std::fmt;

/// One of the programs that make up a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Component {
    LogCache,
    TrafficController,
    Rlp,
    Doppler,
    LoggregatorAgent,
}

impl Component {
    /// In the order in which they start: consumers before those that feed them, so that nothing comes too early. They stop
    /// the other way round, along the way of an envelope, so that each drains into one that still listens.
    pub(crate) const IN_ORDER: [Self; 5] = [
        Self::LogCache,
        Self::TrafficController,
        Self::Rlp,
        Self::Doppler,
        Self::LoggregatorAgent,
    ];

    /// The subcommand; also the name of its configuration, ledger and certificate.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::LogCache => "log-cache",
            Self::TrafficController => "traffic-controller",
            Self::Rlp => "rlp",
            Self::Doppler => "doppler",
            Self::LoggregatorAgent => "loggregator-agent",
        }
    }

    /// The names under which clients expect its certificate (contract §1).
    pub(crate) const fn server_names(self) -> &'static [&'static str] {
        match self {
            Self::LogCache => &["log-cache", "log_cache"],
            Self::TrafficController => &["trafficcontroller"],
            Self::Rlp => &["reverselogproxy"],
            Self::Doppler => &["doppler"],
            Self::LoggregatorAgent => &["metron"],
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
