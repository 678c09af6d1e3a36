//! The names of Weir's components in envelopes. They are the original's where it has the component, so that dashboards
//! and nozzles recognise them.

/// The value of the tag `metric_version`, which all envelopes that follow the v2 conventions have.
pub(crate) const METRIC_VERSION: &str = "2.0";

/// The names with which a component signs its telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'c> {
    /// The name of the subcommand: `doppler`. It is the source id of logs and spans, and the tag `component` of
    /// everything.
    pub component: &'c str,
    /// The source id of metrics. It is the original's.
    pub metrics_source: &'c str,
    /// The part after `loggregator.` in the tag `origin`. It is the original's.
    origin: &'c str,
}

impl<'c> Identity<'c> {
    /// Returns the identity of the component with this name or with this source id of metrics.
    #[must_use]
    pub fn of(component: &'c str) -> Self {
        let (component, metrics_source, origin) = match component {
            "loggregator-agent" | "metron" => ("loggregator-agent", "metron", "metron"),
            "rlp" | "reverse_log_proxy" => ("rlp", "reverse_log_proxy", "rlp"),
            "rlp-gateway" | "reverse_log_proxy_gateway" => ("rlp-gateway", "reverse_log_proxy_gateway", "rlp_gateway"),
            "traffic-controller" | "traffic_controller" => {
                ("traffic-controller", "traffic_controller", "trafficcontroller")
            }
            "forwarder-agent" | "forwarder_agent" => ("forwarder-agent", "forwarder_agent", "forwarder_agent"),
            "binding-cache" | "loggr-syslog-binding-cache" => {
                ("binding-cache", "loggr-syslog-binding-cache", "syslog_binding_cache")
            }
            "log-cache-syslog" | "log-cache-syslog-server" => {
                ("log-cache-syslog", "log-cache-syslog-server", "log-cache-syslog-server")
            }
            "syslog-agent" | "syslog_agent" => ("syslog-agent", "syslog_agent", "syslog_agent"),
            other => (other, other, other),
        };
        Self {
            component,
            metrics_source,
            origin,
        }
    }

    /// Returns the tag `origin`: `loggregator.doppler`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("loggregator.{}", self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names are those of logging §1, or the component's own name if the original has none.
    #[test]
    fn known_names_are_kept() {
        let row = |component| {
            let identity = Identity::of(component);
            assert_eq!(Identity::of(identity.metrics_source), identity);
            (identity.metrics_source.to_owned(), identity.origin())
        };
        let expected = |source: &str, origin: &str| (source.to_owned(), origin.to_owned());
        assert_eq!(row("doppler"), expected("doppler", "loggregator.doppler"));
        assert_eq!(row("rlp"), expected("reverse_log_proxy", "loggregator.rlp"));
        assert_eq!(
            row("traffic-controller"),
            expected("traffic_controller", "loggregator.trafficcontroller")
        );
        assert_eq!(row("loggregator-agent"), expected("metron", "loggregator.metron"));
        assert_eq!(row("log-cache"), expected("log-cache", "loggregator.log-cache"));
        assert_eq!(
            row("syslog-agent"),
            expected("syslog_agent", "loggregator.syslog_agent")
        );
        assert_eq!(
            row("forwarder-agent"),
            expected("forwarder_agent", "loggregator.forwarder_agent")
        );
        assert_eq!(
            row("binding-cache"),
            expected("loggr-syslog-binding-cache", "loggregator.syslog_binding_cache")
        );
        assert_eq!(
            row("log-cache-syslog"),
            expected("log-cache-syslog-server", "loggregator.log-cache-syslog-server")
        );
    }
}
