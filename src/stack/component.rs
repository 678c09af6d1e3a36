//! The components of a stack, and in which order they start and stop.

use std::fmt;

/// One of the programs that make up a stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Component {
    Uaa,
    LogCache,
    LogCacheSyslog,
    TrafficController,
    RlpGateway,
    Rlp,
    Doppler,
    BindingCache,
    SyslogAgent,
    LoggregatorAgent,
    ForwarderAgent,
}

impl Component {
    /// In the order in which they start: whose tokens the others check first; then consumers before those that feed them, so
    /// that nothing comes too early. They stop
    /// the other way round, along the way of an envelope, so that each drains into one that still listens.
    pub(crate) const IN_ORDER: [Self; 11] = [
        Self::Uaa,
        Self::LogCache,
        Self::LogCacheSyslog,
        Self::TrafficController,
        Self::RlpGateway,
        Self::Rlp,
        Self::Doppler,
        Self::BindingCache,
        Self::SyslogAgent,
        Self::LoggregatorAgent,
        Self::ForwarderAgent,
    ];

    /// The subcommand; also the name of its configuration, ledger and certificate.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Uaa => "uaa",
            Self::LogCache => "log-cache",
            Self::LogCacheSyslog => "log-cache-syslog",
            Self::TrafficController => "traffic-controller",
            Self::RlpGateway => "rlp-gateway",
            Self::Rlp => "rlp",
            Self::Doppler => "doppler",
            Self::BindingCache => "binding-cache",
            Self::SyslogAgent => "syslog-agent",
            Self::LoggregatorAgent => "loggregator-agent",
            Self::ForwarderAgent => "forwarder-agent",
        }
    }

    /// The first name under which clients expect its certificate.
    pub(crate) const fn server_name(self) -> &'static str {
        self.server_names()[0]
    }

    /// The names under which clients expect its certificate (logging §1).
    pub(crate) const fn server_names(self) -> &'static [&'static str] {
        match self {
            Self::Uaa => &["uaa"],
            Self::LogCache => &["log-cache", "log_cache"],
            // Verified by the host in an aggregate drain's URL, as in the standard deployment.
            Self::LogCacheSyslog => &["log-cache-syslog", "log-cache.service.cf.internal"],
            Self::TrafficController => &["trafficcontroller"],
            Self::RlpGateway => &["rlp-gateway"],
            Self::Rlp => &["reverselogproxy"],
            Self::Doppler => &["doppler"],
            Self::BindingCache => &["binding-cache"],
            Self::SyslogAgent | Self::LoggregatorAgent | Self::ForwarderAgent => &["metron"],
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
