//! The drop ledger: what one component received, sent and dropped.
//!
//! Counts are kept in memory. A thread writes them to `DIR/<component>.json`: whenever a drop was counted and an
//! acknowledgement is about to leave, and every second or so for those who watch. The acknowledgement waits until the
//! drops behind it are on file ([`Ledger::unwritten`], [`Ledger::written`]), and no task ever writes: all that wait at one
//! time are served by one write. An upstream neighbour that was told "handed on" can rely on the losses behind that word
//! being on disk, even if this process is killed the next moment. A restarted component goes on counting where its file
//! stopped; a broken file is set aside.

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

/// What one component received, sent and dropped since its state directory was made.
#[derive(Debug)]
pub struct Ledger {
    counts: Arc<Counts>,
    /// `None` if the counts are not kept on file.
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
    /// Consumers that this component had before it was restarted, or has while it stops.
    awaited: AtomicI64,
    in_flight: AtomicI64,
    drops: Mutex<Drops>,
    /// How often drops were counted: what was counted before a [`Mark`] was taken is in any snapshot taken after it.
    drops_counted: AtomicU64,
}

/// A moment in the life of a ledger: the drops counted until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(u64);

#[derive(Debug, Default)]
struct Drops {
    totals: BTreeMap<(String, String), u64>,
    reports: Reports,
}

impl Ledger {
    /// The ledger of `component`, kept in `dir` if there is one; goes on from what is on file.
    ///
    /// # Errors
    /// When the file cannot be read or written, or no thread can be started.
    pub fn open(component: &str, dir: Option<&Path>) -> io::Result<Arc<Self>> {
        let counts = Arc::new(Counts::new(component));
        let Some(dir) = dir else {
            return Ok(Arc::new(Self { counts, writer: None }));
        };
        std::fs::create_dir_all(dir)?;
        let file = snapshot::path(dir, component);
        let before = weir_files::read_or_set_aside(&file, |text| serde_json::from_slice(text))?;
        if let Some(before) = before {
            counts.go_on_from(before);
        }
        let writer = Writer::start(file, Arc::clone(&counts))?;
        Ok(Arc::new(Self {
            counts,
            writer: Some(writer),
        }))
    }

    /// A ledger that is not kept on file.
    #[must_use]
    pub fn in_memory(component: &str) -> Arc<Self> {
        Self::open(component, None).expect("without a file nothing can fail")
    }

    /// Whose ledger this is.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.counts.component
    }

    /// Counts envelopes that came in.
    pub fn received(&self, count: u64) {
        self.counts.received.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts envelopes that went out.
    pub fn sent(&self, count: u64) {
        self.counts.sent.fetch_add(count, Ordering::Relaxed);
    }

    /// A consumer came (`1`) or went (`-1`).
    pub fn subscribers(&self, change: i64) {
        self.counts.subscribers.fetch_add(change, Ordering::Relaxed);
    }

    /// A consumer that stores what it gets came (`1`) or went (`-1`). It is one of the subscribers as well.
    pub fn storing(&self, change: i64) {
        self.counts.storing.fetch_add(change, Ordering::Relaxed);
    }

    /// Counts envelopes that a storing consumer has taken.
    pub fn stored(&self, count: u64) {
        self.counts.stored.fetch_add(count, Ordering::Relaxed);
    }

    /// How many of the consumers of before the restart are not back yet.
    #[must_use]
    pub fn missing_subscribers(&self) -> u64 {
        let missing = self.counts.awaited.load(Ordering::Relaxed) - self.counts.subscribers.load(Ordering::Relaxed);
        u64::try_from(missing).unwrap_or(0)
    }

    /// From now on only those count that are connected: the others are not waited for any longer.
    pub fn forget_missing_subscribers(&self) {
        self.counts.awaited.store(0, Ordering::Relaxed);
    }

    /// The component stops: the consumers that it has now are those that its next start may expect.
    pub fn expect_subscribers_again(&self) {
        let now = self.counts.subscribers.load(Ordering::Relaxed);
        self.counts.awaited.fetch_max(now, Ordering::Relaxed);
    }

    /// Envelopes were handed over and wait for their acknowledgement (positive), or got it (negative).
    pub fn in_flight(&self, change: i64) {
        self.counts.in_flight.fetch_add(change, Ordering::Relaxed);
    }

    /// Takes back envelopes that were counted as received and left to the neighbour upstream, which counts them.
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
        self.counts.drops_counted.fetch_add(1, Ordering::Release);
    }

    /// Counts what a queue or a link lost.
    pub fn lost(&self, hop: &'static str, reason: Reason, losses: &[Loss]) {
        for loss in losses {
            self.dropped(hop, reason, &loss.source_id, loss.count);
        }
    }

    /// The losses since the last call, by source, and totals that are told again: for the stream and the `drops` table. To be
    /// called at even intervals, by one task.
    #[must_use]
    pub fn take_reports(&self) -> Vec<LossReport> {
        self.counts.drops.lock().reports.take()
    }

    /// The counts as they are now.
    #[must_use]
    pub fn snapshot(&self) -> LedgerSnapshot {
        self.counts.snapshot()
    }

    /// The mark that [`Ledger::written`] has to wait for before an acknowledgement leaves; `None` if every drop counted
    /// until now is on file. Take it after what is to be acknowledged was read: drops are counted before their receipts go.
    #[must_use]
    pub fn unwritten(&self) -> Option<Mark> {
        let writer = self.writer.as_ref()?;
        let mark = self.counts.mark();
        (!writer.has_written(mark)).then_some(mark)
    }

    /// Waits until the drops counted up to `mark` are on file: as long as the disk takes, or is full. Cancel safe.
    pub async fn written(&self, mark: Mark) {
        if let Some(writer) = &self.writer {
            writer.written(mark).await;
        }
    }

    /// Has the counts written to the file soon, for those who watch it.
    pub fn refresh_file(&self) {
        if let Some(writer) = &self.writer {
            writer.request();
        }
    }

    /// Writes the counts to the file, on the calling thread: at the end of a component.
    ///
    /// # Errors
    /// When the file cannot be written.
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
            awaited: AtomicI64::new(0),
            in_flight: AtomicI64::new(0),
            drops: Mutex::default(),
            drops_counted: AtomicU64::new(0),
        }
    }

    fn go_on_from(&self, before: LedgerSnapshot) {
        self.received.store(before.received, Ordering::Relaxed);
        self.sent.store(before.sent, Ordering::Relaxed);
        self.stored.store(before.stored, Ordering::Relaxed);
        self.awaited.store(before.expected, Ordering::Relaxed);
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
            expected: subscribers.max(self.awaited.load(Ordering::Relaxed)),
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

    /// Counts survive a process that ends without a word, and go on from there.
    #[test]
    fn a_ledger_goes_on_where_its_file_stopped() {
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

    /// A restarted component knows how many consumers it had, also if it is killed again before they are back.
    #[test]
    fn consumers_of_before_are_remembered() {
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
