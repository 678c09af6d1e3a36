//! The drop ledger: what one component received, sent and dropped.
//!
//! Counts are kept in memory and written to `DIR/<component>.json`: whenever a drop was counted and an acknowledgement is
//! about to leave ([`Ledger::persist_drops`]), and every second or so for those who watch ([`Ledger::persist`]). An
//! upstream neighbour that was told "handed on" can rely on the losses behind that word being on file, even if this
//! process is killed the next moment. (A written page survives the kill of its process; a power cut takes the neighbours
//! along.) A restarted component goes on counting where its file stopped.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use crate::Reason;
use crate::queue::Loss;

/// Most sources whose losses are told apart between two reports; those beyond are summed up under `OTHER_SOURCES`.
const MAX_REPORTED_SOURCES: usize = 1000;

/// Stands for the sources beyond `MAX_REPORTED_SOURCES`.
const OTHER_SOURCES: &str = "(other sources)";

/// What one component received, sent and dropped since its state directory was made.
#[derive(Debug)]
pub struct Ledger {
    component: String,
    file: Option<PathBuf>,
    received: AtomicU64,
    sent: AtomicU64,
    subscribers: AtomicI64,
    /// Consumers that this component had before it was restarted, or has while it stops.
    awaited: AtomicI64,
    in_flight: AtomicI64,
    /// A drop was counted that is not on file yet.
    dirty: AtomicBool,
    drops: Mutex<Drops>,
    /// Held while the file is written, so that an older state never overwrites a newer one.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Drops {
    totals: BTreeMap<(String, String), u64>,
    unreported: BTreeMap<(&'static str, &'static str, String), u64>,
}

/// Envelopes dropped at one hop for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropCount {
    /// Where in the component.
    pub hop: String,
    /// Why; see [`Reason`].
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The ledger as it is on file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerSnapshot {
    /// Whose it is.
    pub component: String,
    /// Envelopes that came in.
    pub received: u64,
    /// Envelopes that went out, counted once for each consumer.
    pub sent: u64,
    /// Consumers that are connected now.
    pub subscribers: i64,
    /// Consumers that a next start of the component may expect to come back.
    #[serde(default)]
    pub expected: i64,
    /// Envelopes handed over to a neighbour that has not acknowledged them yet.
    pub in_flight: i64,
    /// What was lost.
    pub dropped: Vec<DropCount>,
}

impl LedgerSnapshot {
    /// All drops together.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(|drop| drop.count).sum()
    }

    /// Reads the ledger file of `component` under `dir`; `None` if there is none yet.
    pub fn read(dir: &Path, component: &str) -> io::Result<Option<Self>> {
        match std::fs::read(dir.join(format!("{component}.json"))) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(io::Error::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Losses of one source since the last report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossReport {
    /// Who lost envelopes.
    pub source_id: String,
    /// Where in the component.
    pub hop: &'static str,
    /// Why.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
}

impl Ledger {
    /// The ledger of `component`, kept in `dir` if there is one; goes on from what is on file.
    pub fn open(component: &str, dir: Option<&Path>) -> io::Result<Arc<Self>> {
        let ledger = Self {
            component: component.to_owned(),
            file: dir.map(|dir| dir.join(format!("{component}.json"))),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            subscribers: AtomicI64::new(0),
            awaited: AtomicI64::new(0),
            in_flight: AtomicI64::new(0),
            dirty: AtomicBool::new(false),
            drops: Mutex::default(),
            writing: Mutex::new(()),
        };
        if let Some(dir) = dir {
            std::fs::create_dir_all(dir)?;
            if let Some(before) = LedgerSnapshot::read(dir, component)? {
                ledger.received.store(before.received, Ordering::Relaxed);
                ledger.sent.store(before.sent, Ordering::Relaxed);
                ledger.awaited.store(before.expected, Ordering::Relaxed);
                let totals = before
                    .dropped
                    .into_iter()
                    .map(|drop| ((drop.hop, drop.reason), drop.count));
                ledger.drops.lock().totals.extend(totals);
            }
            ledger.persist()?;
        }
        Ok(Arc::new(ledger))
    }

    /// A ledger that is not kept on file.
    #[must_use]
    pub fn in_memory(component: &str) -> Arc<Self> {
        Self::open(component, None).expect("without a file nothing can fail")
    }

    /// Whose ledger this is.
    #[must_use]
    pub fn component(&self) -> &str {
        &self.component
    }

    /// Counts envelopes that came in.
    pub fn received(&self, count: u64) {
        self.received.fetch_add(count, Ordering::Relaxed);
    }

    /// Counts envelopes that went out.
    pub fn sent(&self, count: u64) {
        self.sent.fetch_add(count, Ordering::Relaxed);
    }

    /// A consumer came (`1`) or went (`-1`).
    pub fn subscribers(&self, change: i64) {
        self.subscribers.fetch_add(change, Ordering::Relaxed);
    }

    /// How many of the consumers of before the restart are not back yet.
    #[must_use]
    pub fn missing_subscribers(&self) -> u64 {
        let missing = self.awaited.load(Ordering::Relaxed) - self.subscribers.load(Ordering::Relaxed);
        u64::try_from(missing).unwrap_or(0)
    }

    /// From now on only those count that are connected: the others are not waited for any longer.
    pub fn forget_missing_subscribers(&self) {
        self.awaited.store(0, Ordering::Relaxed);
    }

    /// The component stops: the consumers that it has now are those that its next start may expect.
    pub fn expect_subscribers_again(&self) {
        let now = self.subscribers.load(Ordering::Relaxed);
        self.awaited.fetch_max(now, Ordering::Relaxed);
    }

    /// Envelopes were handed over and wait for their acknowledgement (positive), or got it (negative).
    pub fn in_flight(&self, change: i64) {
        self.in_flight.fetch_add(change, Ordering::Relaxed);
    }

    /// Takes back envelopes that were counted as received and left to the neighbour upstream, which counts them.
    pub fn returned(&self, count: u64) {
        self.received.fetch_sub(count, Ordering::Relaxed);
    }

    /// Counts envelopes of one source that were dropped.
    pub fn dropped(&self, hop: &'static str, reason: Reason, source_id: &str, count: u64) {
        if count == 0 {
            return;
        }
        let mut drops = self.drops.lock();
        *drops
            .totals
            .entry((hop.to_owned(), reason.as_str().to_owned()))
            .or_default() += count;
        let named = drops.unreported.len() < MAX_REPORTED_SOURCES
            || drops
                .unreported
                .contains_key(&(hop, reason.as_str(), source_id.to_owned()));
        let source_id = if named { source_id } else { OTHER_SOURCES };
        *drops
            .unreported
            .entry((hop, reason.as_str(), source_id.to_owned()))
            .or_default() += count;
        drop(drops);
        self.dirty.store(true, Ordering::Relaxed);
    }

    /// Counts what a queue or a link lost.
    pub fn lost(&self, hop: &'static str, reason: Reason, losses: &[Loss]) {
        for loss in losses {
            self.dropped(hop, reason, &loss.source_id, loss.count);
        }
    }

    /// The losses since the last call, by source: for the stream and the `drops` table.
    #[must_use]
    pub fn take_reports(&self) -> Vec<LossReport> {
        std::mem::take(&mut self.drops.lock().unreported)
            .into_iter()
            .map(|((hop, reason, source_id), count)| LossReport {
                source_id,
                hop,
                reason,
                count,
            })
            .collect()
    }

    /// The counts as they are now.
    #[must_use]
    pub fn snapshot(&self) -> LedgerSnapshot {
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
            in_flight: self.in_flight.load(Ordering::Relaxed),
            dropped,
        }
    }

    /// Writes the ledger to its file if a drop was counted since: call before an acknowledgement leaves.
    pub fn persist_drops(&self) -> io::Result<()> {
        // The lock comes first: who finds the ledger clean must not overtake the one who is still writing it.
        let writing = self.writing.lock();
        if self.dirty.load(Ordering::Acquire) {
            self.write(&writing)
        } else {
            Ok(())
        }
    }

    /// Writes the ledger to its file: a few hundred bytes, replaced by rename, never synced.
    pub fn persist(&self) -> io::Result<()> {
        self.write(&self.writing.lock())
    }

    fn write(&self, _writing: &MutexGuard<'_, ()>) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        self.dirty.store(false, Ordering::Release);
        let text = serde_json::to_vec(&self.snapshot())?;
        let fresh = file.with_extension("json.new");
        let written = std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, file));
        if written.is_err() {
            self.dirty.store(true, Ordering::Release);
        }
        written
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
        ledger.persist_drops().expect("writes");
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

    /// Reports name the sources, once, and stay bounded.
    #[test]
    fn reports_are_taken_once_and_bounded() {
        let ledger = Ledger::in_memory("doppler");
        for index in 0..MAX_REPORTED_SOURCES + 50 {
            ledger.dropped("egress", Reason::BufferFull, &format!("app-{index}"), 2);
        }
        let reports = ledger.take_reports();
        assert_eq!(reports.len(), MAX_REPORTED_SOURCES + 1);
        assert_eq!(
            reports.iter().map(|report| report.count).sum::<u64>(),
            2 * (MAX_REPORTED_SOURCES as u64 + 50)
        );
        assert!(ledger.take_reports().is_empty());
    }
}
