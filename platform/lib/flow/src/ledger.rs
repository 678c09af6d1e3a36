//! The ledger: counts what one component received, sent and dropped.
//!
//! Counts are kept in memory. A thread writes them to `DIR/<component>.json`: before an acknowledgement that follows a
//! drop, and about once a second for observers. An acknowledgement waits until the drops before it are on file
//! ([`Ledger::unwritten`], [`Ledger::written`]). No task writes the file itself, and one write serves all
//! acknowledgements that wait for it. So the sender of an acknowledged message can rely on the losses of that message
//! being on disk, even if this process is killed at once. A restarted component continues with the counts of its file;
//! a broken file is set aside.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::Reason;
use crate::queue::Loss;

mod reports;
mod snapshot;
mod writer;

pub use reports::LossReport;
use reports::Reports;
pub use snapshot::{DropCount, LedgerSnapshot};
use writer::Writer;

/// Counts what one component received, sent and dropped since its state directory was created.
#[derive(Debug)]
pub struct Ledger {
    counts: Arc<Counts>,
    /// Writes the file; `None` if the counts are not kept on file.
    writer: Option<Writer>,
}

/// The counts, shared with the thread that writes them.
#[derive(Debug)]
struct Counts {
    component: String,
    received: AtomicU64,
    sent: AtomicU64,
    subscribers: AtomicI64,
    storing: AtomicI64,
    stored: AtomicU64,
    /// The number of consumers that the component had before its restart, or has while it stops.
    expected: AtomicI64,
    in_flight: AtomicI64,
    drops: Mutex<Drops>,
    /// The number of times that drops were counted. A snapshot that is taken after a [`Mark`] has all drops before the
    /// mark.
    drops_counted: AtomicU64,
}

/// A point in the sequence of a ledger's drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

#[derive(Debug, Default)]
struct Drops {
    totals: BTreeMap<(String, String), u64>,
    reports: Reports,
}

impl Ledger {
    /// Opens the ledger of `component`, which is kept in `dir` if one is given, and continues with the counts on file.
    ///
    /// # Errors
    /// If the file cannot be read or written, or no thread can be started.
    pub fn open(component: &str, dir: Option<&Path>) -> io::Result<Arc<Self>> {
        let counts = Arc::new(Counts::new(component));
        let Some(dir) = dir else {
            return Ok(Arc::new(Self { counts, writer: None }));
        };
        std::fs::create_dir_all(dir)?;
        let file = snapshot::path(dir, component);
        let before = weir_files::read_or_set_aside(&file, |text| serde_json::from_slice(text))?;
        if let Some(before) = before {
            counts.restore(before);
        }
        let writer = Writer::start(file, Arc::clone(&counts))?;
        Ok(Arc::new(Self {
            counts,
            writer: Some(writer),
        }))
    }

    /// Returns a ledger that is not kept on file.
    #[must_use]
    pub fn in_memory(component: &str) -> Arc<Self> {
        Self::open(component, None).expect("without a file nothing can fail")
    }

    /// The name of the component.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.counts.component
    }

    /// Counts envelopes that came in.
    pub fn received(&self, count: u64) {
        // Relaxed, here and below, because the counters do not depend on each other.
        self.counts.received.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts envelopes that went out.
    pub fn sent(&self, count: u64) {
        self.counts.sent.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts a consumer that connected (`1`) or left (`-1`).
    pub fn subscribers(&self, change: i64) {
        self.counts.subscribers.fetch_add(change, Ordering::Relaxed);
    }

    /// Counts a consumer that stores envelopes and that connected (`1`) or left (`-1`). It is also one of the
    /// subscribers.
    pub fn storing(&self, change: i64) {
        self.counts.storing.fetch_add(change, Ordering::Relaxed);
    }

    /// Counts envelopes that were stored.
    pub fn stored(&self, count: u64) {
        self.counts.stored.fetch_add(count, Ordering::Relaxed);
    }

    /// The number of consumers from before the restart that have not reconnected yet.
    #[must_use]
    pub fn missing_subscribers(&self) -> u64 {
        let missing = self.counts.expected.load(Ordering::Relaxed) - self.counts.subscribers.load(Ordering::Relaxed);
        u64::try_from(missing).unwrap_or(0)
    }

    /// Stops expecting the consumers from before the restart that have not reconnected.
    pub fn forget_missing_subscribers(&self) {
        self.counts.expected.store(0, Ordering::Relaxed);
    }

    /// Notes, when the component stops, that its next start may expect the current consumers.
    pub fn expect_subscribers_again(&self) {
        let now = self.counts.subscribers.load(Ordering::Relaxed);
        self.counts.expected.fetch_max(now, Ordering::Relaxed);
    }

    /// Counts envelopes that were sent and wait for their acknowledgement (positive), or that were acknowledged
    /// (negative).
    pub fn in_flight(&self, change: i64) {
        self.counts.in_flight.fetch_add(change, Ordering::Relaxed);
    }

    /// Subtracts envelopes that were counted as received but are left to the previous hop, which counts them.
    pub fn returned(&self, count: u64) {
        self.counts.received.fetch_sub(count, Ordering::Relaxed);
    }

    /// Counts envelopes of one source that were dropped.
    pub fn dropped(&self, hop: &'static str, reason: Reason, source_id: &str, count: u64) {
        if count == 0 {
            return;
        }
        let mut drops = self.counts.drops.lock();
        *drops
            .totals
            .entry((hop.to_owned(), reason.as_str().to_owned()))
            .or_default() += count;
        drops.reports.add(hop, reason.as_str(), source_id, count);
        drop(drops);
        // After the totals were changed: a mark that includes this drop then stands for a snapshot that has it.
        self.counts.drops_counted.fetch_add(1, Ordering::Release);
    }

    /// Counts the losses of a queue or a link.
    pub fn lost(&self, hop: &'static str, reason: Reason, losses: &[Loss]) {
        for loss in losses {
            self.dropped(hop, reason, &loss.source_id, loss.count);
        }
    }

    /// Returns reports of the losses since the last call, by source, and repeated reports of earlier totals.
    ///
    /// They go into the sources' streams and into the table `drops`. One task must call this at regular intervals.
    #[must_use]
    pub fn take_reports(&self) -> Vec<LossReport> {
        self.counts.drops.lock().reports.take()
    }

    /// Returns the current counts.
    #[must_use]
    pub fn snapshot(&self) -> LedgerSnapshot {
        self.counts.snapshot()
    }

    /// Returns the mark for which [`Ledger::written`] has to wait before an acknowledgement is sent; `None` if all
    /// drops are on file.
    ///
    /// It must be called after the progress that is to be acknowledged was read, because drops are counted before their
    /// receipts are dropped.
    #[must_use]
    pub fn unwritten(&self) -> Option<Mark> {
        let writer = self.writer.as_ref()?;
        let mark = self.counts.mark();
        (!writer.has_written(mark)).then_some(mark)
    }

    /// Waits until the drops up to `mark` are on file, also while the disk is full. Cancel safe.
    pub async fn written(&self, mark: Mark) {
        if let Some(writer) = &self.writer {
            writer.written(mark).await;
        }
    }

    /// Requests that the file be written soon, for observers.
    pub fn refresh_file(&self) {
        if let Some(writer) = &self.writer {
            writer.request();
        }
    }

    /// Writes the counts to the file on the calling thread, when a component ends.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn persist(&self) -> io::Result<()> {
        self.writer.as_ref().map_or(Ok(()), Writer::write_now)
    }
}

impl Counts {
    fn new(component: &str) -> Self {
        Self {
            component: component.to_owned(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            subscribers: AtomicI64::new(0),
            storing: AtomicI64::new(0),
            stored: AtomicU64::new(0),
            expected: AtomicI64::new(0),
            in_flight: AtomicI64::new(0),
            drops: Mutex::default(),
            drops_counted: AtomicU64::new(0),
        }
    }

    fn restore(&self, before: LedgerSnapshot) {
        self.received.store(before.received, Ordering::Relaxed);
        self.sent.store(before.sent, Ordering::Relaxed);
        self.stored.store(before.stored, Ordering::Relaxed);
        self.expected.store(before.expected, Ordering::Relaxed);
        let totals = before
            .dropped
            .into_iter()
            .map(|drop| ((drop.hop, drop.reason), drop.count));
        self.drops.lock().totals.extend(totals);
    }

    fn mark(&self) -> Mark {
        Mark(self.drops_counted.load(Ordering::Acquire))
    }

    fn snapshot(&self) -> LedgerSnapshot {
        let dropped = self
            .drops
            .lock()
            .totals
            .iter()
            .map(|((hop, reason), count)| DropCount {
                hop: hop.clone(),
                reason: reason.clone(),
                count: *count,
            })
            .collect();
        let subscribers = self.subscribers.load(Ordering::Relaxed);
        LedgerSnapshot {
            component: self.component.clone(),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
            subscribers,
            expected: subscribers.max(self.expected.load(Ordering::Relaxed)),
            storing: self.storing.load(Ordering::Relaxed),
            stored: self.stored.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            dropped,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts on file survive a killed process, and the next one continues with them.
    #[test]
    fn a_ledger_continues_with_the_counts_on_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let ledger = Ledger::open("doppler", Some(dir.path())).expect("opens");
        ledger.received(10);
        ledger.dropped("egress", Reason::SlowConsumer, "app", 3);
        ledger.persist().expect("writes");
        ledger.received(1);
        drop(ledger);
        let again = Ledger::open("doppler", Some(dir.path())).expect("opens again");
        again.dropped("egress", Reason::SlowConsumer, "app", 1);
        assert_eq!(again.snapshot().received, 10);
        assert_eq!(again.snapshot().dropped_total(), 4);
    }

    /// A restarted component knows how many consumers it had, even if it is killed again before they reconnect.
    #[test]
    fn consumers_from_before_a_restart_are_expected() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || Ledger::open("doppler", Some(dir.path())).expect("opens");
        let ledger = open();
        assert_eq!(ledger.missing_subscribers(), 0);
        ledger.subscribers(3);
        ledger.persist().expect("writes");
        for _ in 0..2 {
            let again = open();
            again.subscribers(1);
            assert_eq!(again.missing_subscribers(), 2);
        }
        let again = open();
        again.forget_missing_subscribers();
        again.subscribers(1);
        again.expect_subscribers_again();
        again.subscribers(-1);
        again.persist().expect("writes");
        assert_eq!(open().missing_subscribers(), 1);
    }
}
