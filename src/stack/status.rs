//! The status of a running stack, from the ledgers of its components.
//!
//! *In* counts the envelopes that the forwarder agent took from producers. *Out* counts those that consumers got: nozzles at
//! RLP and traffic controller, the log cache, and syslog drains. *Dropped* counts the losses at every hop, by reason; each lost
//! envelope is counted once, where it was lost.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use weir_component::Component;
use weir_flow::LedgerSnapshot;

use crate::components::table;
use crate::terminal::thousands;

/// The component that takes the envelopes of producers.
const INGRESS: &str = weir_agents_forwarder::Server::DESCRIPTION.name;
/// The components that serve consumers of streams.
const STREAMS: [&str; 2] = [
    weir_rlp_server::Server::DESCRIPTION.name,
    weir_traffic_controller_server::Server::DESCRIPTION.name,
];
/// The components, besides [`STREAMS`], whose sent envelopes have left the stack or are stored.
const SINKS: [&str; 2] = [
    weir_log_cache_server::Server::DESCRIPTION.name,
    weir_agents_syslog::Server::DESCRIPTION.name,
];

/// The counts of all components at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) delivered: u64,
    pub(crate) subscribers: u64,
    pub(crate) dropped: BTreeMap<Drop, u64>,
}

/// A place and a reason of losses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Drop {
    pub(crate) reason: String,
    pub(crate) component: String,
    pub(crate) hop: String,
}

impl Counts {
    /// Adds up the ledgers of the components.
    pub(crate) fn of(ledgers: impl IntoIterator<Item = LedgerSnapshot>) -> Self {
        let mut counts = Self::default();
        for ledger in ledgers {
            let is_one_of = |components: &[&str]| components.contains(&ledger.component.as_str());
            if is_one_of(&[INGRESS]) {
                counts.received += ledger.received;
            }
            if is_one_of(&STREAMS) {
                counts.subscribers += u64::try_from(ledger.subscribers).unwrap_or(0);
            }
            if is_one_of(&STREAMS) || is_one_of(&SINKS) {
                counts.delivered += ledger.sent;
            }
            for drop in ledger.dropped {
                let place = Drop {
                    reason: drop.reason,
                    component: ledger.component.clone(),
                    hop: drop.hop,
                };
                *counts.dropped.entry(place).or_default() += drop.count;
            }
        }
        counts
    }

    /// Adds up the ledgers in `directory`. A ledger that does not exist or cannot be read counts as empty.
    pub(crate) fn read(directory: &Path) -> Self {
        Self::of(
            table()
                .iter()
                .filter_map(|component| LedgerSnapshot::read(directory, component.name()).ok().flatten()),
        )
    }

    /// Returns the counts since `before`. Ledgers go on from run to run; a status is about one run.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let dropped = self.dropped.iter().filter_map(|(place, &count)| {
            let new = count.saturating_sub(before.dropped.get(place).copied().unwrap_or(0));
            (new > 0).then(|| (place.clone(), new))
        });
        Self {
            received: self.received.saturating_sub(before.received),
            delivered: self.delivered.saturating_sub(before.delivered),
            subscribers: self.subscribers,
            dropped: dropped.collect(),
        }
    }

    /// Returns the number of lost envelopes.
    pub(crate) fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Returns one line for each place of losses, the largest loss first.
    pub(crate) fn losses(&self) -> Vec<String> {
        let mut losses: Vec<_> = self.dropped.iter().collect();
        losses.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
        losses
            .into_iter()
            .map(|(Drop { reason, component, hop }, &count)| {
                format!("  {:>12}  {component} {hop}: {reason}", thousands(count))
            })
            .collect()
    }
}

/// The status line: totals of this run, and rates since the last line.
#[derive(Debug)]
pub(crate) struct StatusLine {
    pub(crate) total: Counts,
    pub(crate) last: Counts,
    pub(crate) elapsed: Duration,
}

impl fmt::Display for StatusLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, last, elapsed } = self;
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = |count: u64| thousands(count.saturating_mul(1000) / millis);
        write!(
            formatter,
            "in {} ({}/s)  out {} ({}/s)  dropped {}",
            thousands(total.received),
            rate(last.received),
            thousands(total.delivered),
            rate(last.delivered),
            thousands(total.dropped_total()),
        )?;
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        for (place, count) in &total.dropped {
            *reasons.entry(&place.reason).or_default() += count;
        }
        for (index, (reason, count)) in reasons.into_iter().enumerate() {
            write!(
                formatter,
                "{}{reason} {}",
                if index == 0 { " (" } else { ", " },
                thousands(count)
            )?;
        }
        write!(
            formatter,
            "{}  subscribers {}",
            if total.dropped.is_empty() { "" } else { ")" },
            total.subscribers
        )
    }
}

#[cfg(test)]
mod tests {
    use weir_flow::DropCount;

    use super::*;

    fn ledger(component: &str, received: u64, sent: u64, dropped: &[(&str, &str, u64)]) -> LedgerSnapshot {
        let dropped = dropped
            .iter()
            .map(|&(hop, reason, count)| DropCount {
                hop: hop.to_owned(),
                reason: reason.to_owned(),
                count,
            })
            .collect();
        LedgerSnapshot {
            component: component.to_owned(),
            received,
            sent,
            subscribers: 2,
            dropped,
            ..LedgerSnapshot::default()
        }
    }

    fn stack(times: u64) -> Counts {
        Counts::of([
            ledger(
                "forwarder-agent",
                1000 * times,
                1990 * times,
                &[("egress loggregator-agent", "peer_lost", 10 * times)],
            ),
            ledger("loggregator-agent", 990 * times, 990 * times, &[]),
            ledger("syslog-agent", 1000 * times, 30 * times, &[]),
            ledger("doppler", 990 * times, 1980 * times, &[]),
            ledger(
                "rlp",
                990 * times,
                980 * times,
                &[
                    ("egress", "slow_consumer", 7 * times),
                    ("ingress", "slow_consumer", 3 * times),
                ],
            ),
            ledger("log-cache", 990 * times, 990 * times, &[]),
        ])
    }

    /// *In* is the forwarder agent's count, *out* that of the consumers; losses of all components count.
    #[test]
    fn ledgers_add_up_to_one_line() {
        let total = stack(2).since(&stack(1));
        let line = StatusLine {
            last: total.clone(),
            total,
            elapsed: Duration::from_millis(500),
        };
        assert_eq!(
            line.to_string(),
            "in 1,000 (2,000/s)  out 2,000 (4,000/s)  dropped 20 (peer_lost 10, slow_consumer 10)  subscribers 2"
        );
    }

    /// Without losses there is no list of reasons.
    #[test]
    fn an_idle_stack_has_no_reasons() {
        let line = StatusLine {
            total: Counts::default(),
            last: Counts::default(),
            elapsed: Duration::from_secs(1),
        };
        assert_eq!(line.to_string(), "in 0 (0/s)  out 0 (0/s)  dropped 0  subscribers 0");
    }

    /// The largest loss comes first, each with its place.
    #[test]
    fn losses_are_listed_by_size() {
        assert_eq!(
            stack(1).losses(),
            [
                "            10  forwarder-agent egress loggregator-agent: peer_lost",
                "             7  rlp egress: slow_consumer",
                "             3  rlp ingress: slow_consumer",
            ]
        );
        assert!(stack(1).since(&stack(1)).losses().is_empty());
    }
}
