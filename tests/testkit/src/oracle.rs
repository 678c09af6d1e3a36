//! Checks conservation: each envelope for a consumer was delivered, or a ledger counts it as dropped.
//!
//! An [`Account`] has what one consumer should have got, and what it got. [`Ledgers`] are the ledger files of all
//! components. A drop before the doppler's routing is missing at every consumer, and a drop after it at one consumer:
//!
//! ```text
//! Σ over consumers (sent − delivered)  =  consumers × drops(agents, doppler ingress)  +  drops(everywhere else)
//! ```
//!
//! Drains branch off at the forwarder agent. No consumer misses what is dropped on their branch, so the equation leaves
//! it out.
//!
//! No consumer alone may miss more than was dropped. With [`Tolerance::Overcount`], the right side may be larger, but
//! never smaller: a component that counts for a killed neighbour also counts what arrived without an acknowledgement.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use weir_flow::{DropCount, LedgerSnapshot};

use crate::{Numbers, Received, Sent, eventually};

/// The first agent. No consumer gets what it drops on its ingress, or on the way to the loggregator agent. It sends
/// everything to two agents.
const FORWARDER: &str = "forwarder-agent";
/// The number of agents behind the first one.
const DOWNSTREAMS: u64 = 2;
/// The loggregator agent. No consumer gets what it drops.
const AGENT: &str = "loggregator-agent";
/// The hops of the drains' branch. What they drop is missing at drains only.
const DRAIN_BRANCH: [(&str, &str); 4] = [
    (FORWARDER, "egress syslog-agent"),
    ("syslog-agent", ""),
    ("binding-cache", ""),
    ("log-cache-syslog", ""),
];
/// The doppler. What it drops on ingress, no consumer gets. What it drops on egress, one consumer does not get.
const DOPPLER: &str = "doppler";
/// The components that copy nothing: what they receive is sent once or dropped.
const PASS_THROUGH: [&str; 2] = [AGENT, "rlp"];

/// The ledgers of all components at one moment, or their differences between two moments.
#[derive(Debug, Clone, Default)]
pub struct Ledgers {
    by_component: BTreeMap<String, LedgerSnapshot>,
}

impl Ledgers {
    /// Reads all ledger files of a directory.
    ///
    /// # Errors
    /// Fails when one cannot be read.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let mut by_component = BTreeMap::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let component = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if path.extension().is_none_or(|kind| kind != "json") {
                continue;
            }
            if let Some(ledger) = LedgerSnapshot::read(dir, component)? {
                by_component.insert(component.to_owned(), ledger);
            }
        }
        Ok(Self { by_component })
    }

    /// Reads the ledgers of several processes, each given as `(name, directory, component)`.
    ///
    /// # Errors
    /// Fails when one cannot be read.
    pub fn read_each<'a>(processes: impl IntoIterator<Item = (&'a str, &'a Path, &'a str)>) -> anyhow::Result<Self> {
        let mut by_component = BTreeMap::new();
        for (name, dir, component) in processes {
            if let Some(ledger) = LedgerSnapshot::read(dir, component)? {
                by_component.insert(name.to_owned(), ledger);
            }
        }
        Ok(Self { by_component })
    }

    /// Reads the ledgers with `read` until nothing is in flight, and no counts change except those of the stack's own
    /// telemetry.
    ///
    /// # Errors
    /// Fails when this does not happen in time.
    pub async fn at_rest(read: impl Fn() -> anyhow::Result<Self>) -> anyhow::Result<Self> {
        eventually("the stack at rest", async || {
            let before = read()?;
            // This is longer than the interval at which idle ledgers are written.
            tokio::time::sleep(Duration::from_millis(2200)).await;
            let after = read()?;
            match after.activity_since(&before) {
                None => Ok(after),
                Some(unrest) => Err(anyhow::Error::msg(unrest)),
            }
        })
        .await
    }

    /// Returns the ledger of one component, or an empty one.
    #[must_use]
    pub fn of(&self, component: &str) -> LedgerSnapshot {
        self.by_component.get(component).cloned().unwrap_or_default()
    }

    /// Returns the differences to `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let by_component = self
            .by_component
            .iter()
            .map(|(component, now)| {
                let then = before.of(component);
                let dropped = now
                    .dropped
                    .iter()
                    .map(|drop| DropCount {
                        count: drop.count.saturating_sub(count_of(&then.dropped, drop)),
                        ..drop.clone()
                    })
                    .filter(|drop| drop.count > 0)
                    .collect();
                let since = LedgerSnapshot {
                    received: now.received.saturating_sub(then.received),
                    sent: now.sent.saturating_sub(then.sent),
                    dropped,
                    ..now.clone()
                };
                (component.clone(), since)
            })
            .collect();
        Self { by_component }
    }

    /// Returns why the stack was not idle since `before`, if it was not: envelopes are in flight, or more of them moved than
    /// the stack makes itself.
    fn activity_since(&self, before: &Self) -> Option<String> {
        /// An upper bound of the stack's own logs and metrics in two seconds.
        const TELEMETRY: u64 = 500;
        for (component, moved) in &self.since(before).by_component {
            if moved.in_flight > i64::try_from(TELEMETRY).unwrap_or(i64::MAX) {
                return Some(format!("{component}: {} in flight", moved.in_flight));
            }
            if moved.received > TELEMETRY || moved.sent > TELEMETRY || !moved.dropped.is_empty() {
                return Some(format!("{component}: {moved:?}"));
            }
        }
        None
    }

    /// Returns the count of drops with these properties. An empty text matches any.
    #[must_use]
    pub fn dropped(&self, component: &str, hop: &str, reason: &str) -> u64 {
        let fits = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        self.by_component
            .values()
            .filter(|ledger| fits(component, &ledger.component))
            .flat_map(|ledger| &ledger.dropped)
            .filter(|drop| fits(hop, &drop.hop) && fits(reason, &drop.reason))
            .map(|drop| drop.count)
            .sum()
    }

    /// Returns all drops, except those for want of a v1 form. Log lines have such a form, only some of the stack's own
    /// envelopes have none.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.dropped("", "", "") - self.dropped("traffic-controller", "egress", "unconvertible")
    }

    /// Returns the drops that are missing at every consumer.
    fn before_routing(&self) -> u64 {
        let forwarder = self.dropped(FORWARDER, "", "") - self.dropped(FORWARDER, "egress syslog-agent", "");
        forwarder + self.dropped(AGENT, "", "") + self.dropped(DOPPLER, "ingress", "")
    }

    /// Returns the drops that are missing at drains only.
    fn on_drain_branch(&self) -> u64 {
        let of = |(component, hop): (&str, &str)| self.dropped(component, hop, "");
        DRAIN_BRANCH.into_iter().map(of).sum()
    }

    /// Returns a text with one line for each drop, for error messages.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for ledger in self.by_component.values() {
            let LedgerSnapshot {
                component,
                received,
                sent,
                in_flight,
                ..
            } = ledger;
            let _infallible = writeln!(
                text,
                "{component}: received {received}, sent {sent}, in flight {in_flight}"
            );
            for drop in &ledger.dropped {
                let _infallible = writeln!(text, "  dropped {} at {}: {}", drop.count, drop.hop, drop.reason);
            }
        }
        text
    }
}

fn count_of(drops: &[DropCount], like: &DropCount) -> u64 {
    drops
        .iter()
        .filter(|drop| drop.hop == like.hop && drop.reason == like.reason)
        .map(|drop| drop.count)
        .sum()
}

/// The envelopes that one consumer should have received, and those that it received.
#[derive(Debug, Clone)]
pub struct Account {
    name: String,
    sent: Sent,
    delivered: Sent,
    numbers: Numbers,
    reports_sent: Sent,
    reports_delivered: Sent,
}

impl Account {
    /// Compares the lines in `sent` with those of `received`. Other sources are ignored.
    #[must_use]
    pub fn new(name: &str, sent: &Sent, received: &Received) -> Self {
        let mut numbers = received.numbers();
        numbers.retain(|source_id, _| sent.contains_key(source_id));
        let delivered = numbers
            .iter()
            .map(|(source_id, list)| (source_id.clone(), list.len() as u64))
            .collect();
        Self {
            name: name.to_owned(),
            sent: sent.clone(),
            delivered,
            numbers,
            reports_sent: Sent::new(),
            reports_delivered: received.reports(),
        }
    }

    /// Ignores the order in which lines arrived. Several dopplers have no common order.
    #[must_use]
    pub fn in_any_order(mut self) -> Self {
        for numbers in self.numbers.values_mut() {
            numbers.sort_unstable();
        }
        self
    }

    /// Adds the reports of losses that the consumer should have got. The stack writes them into the stream of the
    /// source that lost lines, and such a report can be lost, too.
    #[must_use]
    pub fn with_reports(mut self, reports: &Sent) -> Self {
        self.reports_sent.clone_from(reports);
        self.reports_sent
            .retain(|source_id, _| self.sent.contains_key(source_id));
        self
    }

    fn missing_reports(&self) -> u64 {
        self.sent
            .keys()
            .map(|source_id| self.missing_reports_of(source_id))
            .sum()
    }

    fn missing_reports_of(&self, source_id: &str) -> u64 {
        let of = |reports: &Sent| reports.get(source_id).copied().unwrap_or_default();
        of(&self.reports_sent).saturating_sub(of(&self.reports_delivered))
    }

    /// Returns how many lines and reports of one source did not arrive.
    #[must_use]
    pub fn missing_with_reports_of(&self, source_id: &str) -> u64 {
        self.missing_of(source_id) + self.missing_reports_of(source_id)
    }

    /// Returns how many lines of all sources did not arrive.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.sent
            .iter()
            .map(|(source_id, sent)| sent.saturating_sub(self.delivered_of(source_id)))
            .sum()
    }

    /// Returns how many lines of one source did not arrive.
    #[must_use]
    pub fn missing_of(&self, source_id: &str) -> u64 {
        let sent = self.sent.get(source_id).copied().unwrap_or_default();
        sent.saturating_sub(self.delivered_of(source_id))
    }

    fn delivered_of(&self, source_id: &str) -> u64 {
        self.delivered.get(source_id).copied().unwrap_or_default()
    }

    /// Checks that each number arrived at most once, that only sent numbers arrived, and that each source is in order.
    ///
    /// # Errors
    /// Fails with the first number that is wrong.
    pub fn check_numbers(&self) -> anyhow::Result<()> {
        let name = &self.name;
        for (source_id, delivered) in &self.delivered {
            let sent = self.sent.get(source_id).copied().unwrap_or_default();
            ensure!(
                *delivered <= sent,
                "{name}: {delivered} of {sent} sent by {source_id} arrived: some twice"
            );
        }
        for (source_id, numbers) in &self.numbers {
            let sent = self.sent.get(source_id).copied().unwrap_or_default();
            if let Some(at) = numbers.windows(2).position(|pair| pair[0] >= pair[1]) {
                let (first, second) = (numbers[at], numbers[at + 1]);
                let what = if first == second {
                    "arrived twice"
                } else {
                    "is out of order"
                };
                anyhow::bail!("{name}: {source_id}: number {second} {what} (after {first}, place {at})");
            }
            ensure!(
                numbers.last().is_none_or(|last| *last < sent),
                "{name}: {source_id}: a number beyond the {sent} sent"
            );
        }
        Ok(())
    }
}

/// The allowed difference between the ledgers and the accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tolerance {
    /// None: no process was killed.
    Exact,
    /// A process was killed. Every missing envelope must be counted, and at most this many may be counted although they
    /// arrived or were the stack's own.
    Overcount(u64),
}

/// The numbers that were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The number of envelopes that did not arrive, over all accounts.
    pub missing: u64,
    /// The number of envelopes that are counted as lost to these accounts.
    pub counted: u64,
}

/// Compares the consumers' accounts with the change of the ledgers since the first envelope was sent. Nothing may be in
/// flight at either moment.
///
/// # Errors
/// Fails when they do not agree, with all figures.
pub fn conserved(accounts: &[Account], ledgers: &Ledgers, tolerance: Tolerance) -> anyhow::Result<Verdict> {
    for account in accounts {
        account.check_numbers()?;
    }
    let missing: u64 = accounts
        .iter()
        .map(|account| account.missing() + account.missing_reports())
        .sum();
    let shared = ledgers.before_routing();
    let single = ledgers.lost() - shared - ledgers.on_drain_branch();
    let counted = accounts.len() as u64 * shared + single;
    let figures = || {
        let mut text = format!("missing {missing}, counted {counted}\n");
        for account in accounts {
            let (lines, reports) = (account.missing(), account.missing_reports());
            let _infallible = writeln!(text, "{}: missing {lines} lines, {reports} reports", account.name);
        }
        text + &ledgers.summary()
    };
    ensure!(
        missing <= counted,
        "{} envelopes are lost and not counted: {}",
        missing - counted,
        figures()
    );
    let allowed = match tolerance {
        Tolerance::Exact => 0,
        Tolerance::Overcount(window) => window,
    };
    for account in accounts {
        // Without this, an excess in the count of one consumer could hide an uncounted loss of another.
        let most = shared + single;
        let missing = account.missing() + account.missing_reports();
        ensure!(
            missing <= most,
            "{}: {missing} missing, {most} counted: {}",
            account.name,
            figures()
        );
    }
    ensure!(
        counted - missing <= allowed,
        "{} too many are counted: {}",
        counted - missing,
        figures()
    );
    if tolerance == Tolerance::Exact {
        for component in PASS_THROUGH {
            let ledger = ledgers.of(component);
            let out = i128::from(ledger.sent) + i128::from(ledger.dropped_total()) + i128::from(ledger.in_flight);
            // Envelopes of the stack itself may have been in flight at the first moment and sent since, so the sum need
            // not be exact.
            let off = (i128::from(ledger.received) - out).unsigned_abs();
            ensure!(
                off <= 500,
                "{component}: received is not sent + dropped + in flight: {}",
                figures()
            );
        }
        let forwarder = ledgers.of(FORWARDER);
        let lost_on_the_way_in = ledgers.dropped(FORWARDER, "ingress", "");
        let out = forwarder.sent + forwarder.dropped_total() + (DOWNSTREAMS - 1) * lost_on_the_way_in;
        let off = i128::from(DOWNSTREAMS * forwarder.received) - i128::from(out) - i128::from(forwarder.in_flight);
        ensure!(
            off.unsigned_abs() <= u128::from(DOWNSTREAMS * 500),
            "{FORWARDER}: what came in did not go to each downstream, and was not dropped: {}",
            figures()
        );
    }
    Ok(Verdict { missing, counted })
}

#[cfg(test)]
mod tests;
