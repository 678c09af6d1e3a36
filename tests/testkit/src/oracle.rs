//! The law of conservation: what was sent to a consumer was delivered, or is counted as dropped at some hop.
//!
//! An [`Account`] says what one consumer should have got and what it got. The [`Books`] are the ledger files of all
//! components. A drop before the doppler's routing costs every consumer one envelope, a drop behind it costs one consumer:
//!
//! ```text
//! Σ over consumers (sent − delivered)  =  consumers × drops(agents, doppler ingress)  +  drops(everywhere else)
//! ```
//!
//! Drains branch off at the forwarder agent: what is dropped on their branch no consumer misses, and the law leaves it out.
//!
//! No consumer alone may miss more than was dropped. With a [`Tolerance`] the right side may be larger, never smaller: who counts for a killed neighbour also counts what
//! arrived but was not acknowledged any more.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use weir_flow::{DropCount, LedgerSnapshot};

use crate::{Numbers, Received, Sent, eventually};

/// The first agent: what it drops on the way in, or on the way to the next agent, nobody gets. Gives everything to two.
const FORWARDER: &str = "forwarder-agent";
/// Downstreams of the first agent.
const DOWNSTREAMS: u64 = 2;
/// The agent: what it drops, nobody gets.
const AGENT: &str = "loggregator-agent";
/// What is dropped there is missing at drains only.
const ON_THE_BRANCH: [(&str, &str); 4] = [
    (FORWARDER, "egress syslog-agent"),
    ("syslog-agent", ""),
    ("binding-cache", ""),
    ("log-cache-syslog", ""),
];
/// Fans out: what it drops on the way in, nobody gets; on the way out, one consumer does not get.
const DOPPLER: &str = "doppler";
/// Components at which nothing is copied: what comes in goes out once or is dropped.
const STRAIGHT: [&str; 2] = [AGENT, "rlp"];

/// The ledgers of all components at one moment, or between two.
#[derive(Debug, Clone, Default)]
pub struct Books {
    ledgers: BTreeMap<String, LedgerSnapshot>,
}

impl Books {
    /// Reads all ledger files of a directory.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let mut ledgers = BTreeMap::new();
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let component = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            if path.extension().is_none_or(|kind| kind != "json") {
                continue;
            }
            if let Some(ledger) = LedgerSnapshot::read(dir, component)? {
                ledgers.insert(component.to_owned(), ledger);
            }
        }
        Ok(Self { ledgers })
    }

    /// Reads the ledgers of several processes, each in a directory of its own: `(name, directory, component)`.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read_each<'a>(processes: impl IntoIterator<Item = (&'a str, &'a Path, &'a str)>) -> anyhow::Result<Self> {
        let mut ledgers = BTreeMap::new();
        for (name, dir, component) in processes {
            if let Some(ledger) = LedgerSnapshot::read(dir, component)? {
                ledgers.insert(name.to_owned(), ledger);
            }
        }
        Ok(Self { ledgers })
    }

    /// Reads with `read` until nothing is in flight and nothing moves that is not the stack's own.
    ///
    /// # Errors
    /// When it does not come to rest.
    pub async fn at_rest(read: impl Fn() -> anyhow::Result<Self>) -> anyhow::Result<Self> {
        eventually("the stack at rest", async || {
            let before = read()?;
            // Longer than the interval at which ledgers are written in quiet times.
            tokio::time::sleep(Duration::from_millis(2200)).await;
            let after = read()?;
            match after.unrest_since(&before) {
                None => Ok(after),
                Some(unrest) => Err(anyhow::Error::msg(unrest)),
            }
        })
        .await
    }

    /// The ledger of one component; an empty one if it has none.
    #[must_use]
    pub fn of(&self, component: &str) -> LedgerSnapshot {
        self.ledgers.get(component).cloned().unwrap_or_default()
    }

    /// What was counted since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let ledgers = self
            .ledgers
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
        Self { ledgers }
    }

    /// Why the stack was not at rest between the two, if it was not: something in flight, or more movement than the stack
    /// makes by itself.
    fn unrest_since(&self, before: &Self) -> Option<String> {
        /// More than the stack's own lines and metrics in two seconds.
        const OWN: u64 = 500;
        for (component, moved) in &self.since(before).ledgers {
            if moved.in_flight > i64::try_from(OWN).unwrap_or(i64::MAX) {
                return Some(format!("{component}: {} in flight", moved.in_flight));
            }
            if moved.received > OWN || moved.sent > OWN || !moved.dropped.is_empty() {
                return Some(format!("{component}: {moved:?}"));
            }
        }
        None
    }

    /// Drops with these properties; an empty text stands for any.
    #[must_use]
    pub fn dropped(&self, component: &str, hop: &str, reason: &str) -> u64 {
        let fits = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        self.ledgers
            .values()
            .filter(|ledger| fits(component, &ledger.component))
            .flat_map(|ledger| &ledger.dropped)
            .filter(|drop| fits(hop, &drop.hop) && fits(reason, &drop.reason))
            .map(|drop| drop.count)
            .sum()
    }

    /// All drops but of what has no v1 form: log lines have one, the stack's own spans have none.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.dropped("", "", "") - self.dropped("traffic-controller", "egress", "unconvertible")
    }

    /// Drops that cost every consumer.
    fn before_routing(&self) -> u64 {
        let forwarder = self.dropped(FORWARDER, "", "") - self.dropped(FORWARDER, "egress syslog-agent", "");
        forwarder + self.dropped(AGENT, "", "") + self.dropped(DOPPLER, "ingress", "")
    }

    /// Drops that cost no consumer: only drains miss them.
    fn on_the_branch(&self) -> u64 {
        let of = |(component, hop): (&str, &str)| self.dropped(component, hop, "");
        ON_THE_BRANCH.into_iter().map(of).sum()
    }

    /// A line for each drop, for error messages.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for ledger in self.ledgers.values() {
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

/// What one consumer should have got and what it got.
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
    /// What `received` has of the lines in `sent`; other sources are ignored.
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

    /// The order in which lines arrived does not count: several dopplers have no common order.
    #[must_use]
    pub fn in_any_order(mut self) -> Self {
        for numbers in self.numbers.values_mut() {
            numbers.sort_unstable();
        }
        self
    }

    /// Besides its lines the consumer should have got these: where lines are lost, the stack says so in the stream of their
    /// source, and such a report can itself be lost.
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

    /// What did not arrive of one source, lines and reports.
    #[must_use]
    pub fn missing_with_reports_of(&self, source_id: &str) -> u64 {
        self.missing_of(source_id) + self.missing_reports_of(source_id)
    }

    /// The lines that did not arrive, over all sources.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.sent
            .iter()
            .map(|(source_id, sent)| sent.saturating_sub(self.delivered_of(source_id)))
            .sum()
    }

    /// The lines that did not arrive of one source.
    #[must_use]
    pub fn missing_of(&self, source_id: &str) -> u64 {
        let sent = self.sent.get(source_id).copied().unwrap_or_default();
        sent.saturating_sub(self.delivered_of(source_id))
    }

    fn delivered_of(&self, source_id: &str) -> u64 {
        self.delivered.get(source_id).copied().unwrap_or_default()
    }

    /// Each number at most once, only numbers that were sent, and each source in order.
    ///
    /// # Errors
    /// Which number is wrong.
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

/// How exact the books must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tolerance {
    /// Nothing was killed: to the envelope.
    Exact,
    /// A process was killed: nothing is unexplained, and at most so many envelopes are counted although they arrived (or
    /// were the stack's own).
    Overcount(u64),
}

/// What the law was checked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Envelopes that did not arrive, over all accounts.
    pub missing: u64,
    /// Envelopes counted as lost to these accounts.
    pub counted: u64,
}

/// Judges the consumers' accounts by the books kept since the first envelope was sent; both at rest.
///
/// # Errors
/// Which law is broken, with the figures.
pub fn conserved(accounts: &[Account], books: &Books, tolerance: Tolerance) -> anyhow::Result<Verdict> {
    for account in accounts {
        account.check_numbers()?;
    }
    let missing: u64 = accounts
        .iter()
        .map(|account| account.missing() + account.missing_reports())
        .sum();
    let shared = books.before_routing();
    let single = books.lost() - shared - books.on_the_branch();
    let counted = accounts.len() as u64 * shared + single;
    let figures = || {
        let mut text = format!("missing {missing}, counted {counted}\n");
        for account in accounts {
            let (lines, reports) = (account.missing(), account.missing_reports());
            let _infallible = writeln!(text, "{}: missing {lines} lines, {reports} reports", account.name);
        }
        text + &books.summary()
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
        // Nobody misses more than was counted before the routing, and behind it for any one.
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
        for component in STRAIGHT {
            let ledger = books.of(component);
            let out = i128::from(ledger.sent) + i128::from(ledger.dropped_total()) + i128::from(ledger.in_flight);
            // What lay there before the books were opened may have left since.
            let off = (i128::from(ledger.received) - out).unsigned_abs();
            ensure!(
                off <= 500,
                "{component}: received is not sent + dropped + in flight: {}",
                figures()
            );
        }
        let forwarder = books.of(FORWARDER);
        let lost_on_the_way_in = books.dropped(FORWARDER, "ingress", "");
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
