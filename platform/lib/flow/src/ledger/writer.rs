//! The thread that writes the file of a ledger.
//!
//! A task that needs the file to be up to date requests a write and waits; one write serves all tasks that wait when it
//! begins. A write that fails is repeated until it succeeds, and meanwhile no acknowledgement that relies on it is
//! sent.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use weir_files::Readers;

use super::{Counts, Mark};

/// The shortest time between two writes, so that drops within it share a write.
const BETWEEN_WRITES: Duration = Duration::from_millis(10);

/// The time after which a failed write is repeated.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Of consecutive failures, the first is logged, and then one of this many, which is one in a minute.
const LOGGED_EVERY: u64 = 120;

/// Writes the counts of one ledger. Dropping this ends the thread.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    file: PathBuf,
    counts: Arc<Counts>,
    orders: Mutex<Orders>,
    /// Notified when `orders` has changed.
    ordered: Condvar,
    /// The contents of the file. It is locked during a write, so that older counts never replace newer ones.
    content: Mutex<Vec<u8>>,
    /// The [`Mark`] up to which drops are on file.
    on_file: AtomicU64,
    /// Notified after each write.
    written: Notify,
    /// The number of writes.
    #[cfg(test)]
    writes: AtomicU64,
}

#[derive(Debug, Default)]
struct Orders {
    write: bool,
    stop: bool,
}

impl Writer {
    /// Writes `file` once, and starts the thread.
    pub(super) fn start(file: PathBuf, counts: Arc<Counts>) -> io::Result<Self> {
        let name = format!("ledger {}", counts.component);
        let shared = Arc::new(Shared {
            file,
            counts,
            orders: Mutex::default(),
            ordered: Condvar::new(),
            content: Mutex::default(),
            on_file: AtomicU64::new(0),
            written: Notify::new(),
            #[cfg(test)]
            writes: AtomicU64::new(0),
        });
        shared.write()?;
        let running = Arc::clone(&shared);
        let thread = thread::Builder::new().name(name).spawn(move || running.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Whether the drops up to `mark` are on file.
    pub(super) fn has_written(&self, mark: Mark) -> bool {
        self.shared.has_written(mark)
    }

    /// Waits until the drops up to `mark` are on file. Cancel safe.
    pub(super) async fn written(&self, mark: Mark) {
        loop {
            // Created before the check, so that a write that ends in between wakes it.
            let written = self.shared.written.notified();
            if self.has_written(mark) {
                return;
            }
            self.request();
            written.await;
        }
    }

    /// Requests that the file be written soon.
    pub(super) fn request(&self) {
        self.shared.orders.lock().write = true;
        self.shared.ordered.notify_one();
    }

    /// Writes the file on the calling thread.
    pub(super) fn write_now(&self) -> io::Result<()> {
        self.shared.write()
    }
}

impl Drop for Writer {
    /// Waits for a running write, so that the file does not change any more when it is opened next.
    fn drop(&mut self) {
        self.shared.orders.lock().stop = true;
        self.shared.ordered.notify_one();
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic of the thread.
            drop(thread.join());
        }
    }
}

impl Shared {
    fn has_written(&self, mark: Mark) -> bool {
        self.on_file.load(Ordering::Acquire) >= mark.0
    }

    fn run(&self) {
        let component = self.counts.component.as_str();
        // Log lines are attributed to a component by this span (`weir_service::Context::span`).
        let _span = tracing::error_span!(target: "weir::component", "component", component).entered();
        let mut failures = 0_u64;
        while self.ordered() {
            match self.write() {
                Ok(()) => {
                    if failures > 0 {
                        tracing::info!(failures, "ledger is written again; acknowledgements leave");
                    }
                    failures = 0;
                    self.pause(BETWEEN_WRITES);
                }
                Err(error) => {
                    if failures.is_multiple_of(LOGGED_EVERY) {
                        let file = self.file.display();
                        tracing::error!(%file, %error, failures, "cannot write the ledger; acknowledgements are held back");
                    }
                    failures += 1;
                    self.orders.lock().write = true;
                    self.pause(RETRY_AFTER);
                }
            }
        }
    }

    /// Waits until a write is requested; returns `false` once the thread has to end.
    fn ordered(&self) -> bool {
        let mut orders = self.orders.lock();
        while !orders.write && !orders.stop {
            self.ordered.wait(&mut orders);
        }
        orders.write = false;
        !orders.stop
    }

    /// Waits for `time`, or until the thread has to end.
    fn pause(&self, time: Duration) {
        let mut orders = self.orders.lock();
        let ends = |orders: &mut Orders| !orders.stop;
        self.ordered.wait_while_for(&mut orders, ends, time);
    }

    /// Writes the counts, unless the file has them already.
    fn write(&self) -> io::Result<()> {
        let mut content = self.content.lock();
        // Read before the snapshot, so that the snapshot has at least the drops up to the mark.
        let mark = self.counts.mark();
        let text = serde_json::to_vec(&self.counts.snapshot())?;
        if text != *content {
            weir_files::replace(&self.file, &text, Readers::Owner)?;
            *content = text;
            #[cfg(test)]
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
        self.on_file.fetch_max(mark.0, Ordering::AcqRel);
        drop(content);
        self.written.notify_waiters();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use crate::{Ledger, LedgerSnapshot, Reason};

    fn on_file(dir: &Path) -> u64 {
        let snapshot = LedgerSnapshot::read(dir, "doppler").unwrap().unwrap();
        snapshot.dropped_total()
    }

    /// When a mark is reached, the file has the drops before it. Without new drops there is nothing to wait for.
    #[tokio::test]
    async fn a_mark_is_reached_when_its_drops_are_on_file() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open("doppler", Some(dir.path())).unwrap();
        assert_eq!(ledger.unwritten(), None);
        for count in 1..50 {
            ledger.dropped("egress", Reason::SlowConsumer, "app", 1);
            let mark = ledger.unwritten().expect("a drop is not on file yet");
            ledger.written(mark).await;
            assert!(on_file(dir.path()) >= count);
        }
        assert_eq!(ledger.unwritten(), None);
        let kept = Ledger::in_memory("doppler");
        kept.dropped("egress", Reason::SlowConsumer, "app", 1);
        assert_eq!(kept.unwritten(), None, "there is no file to wait for");
    }

    /// One write of the thread serves a hundred links that wait at a time.
    #[tokio::test]
    async fn waiting_links_share_a_write() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open("doppler", Some(dir.path())).unwrap();
        let writer = &ledger.writer.as_ref().unwrap().shared;
        let before = writer.writes.load(Ordering::Relaxed);
        let links = (0..100).map(|_| {
            ledger.dropped("egress", Reason::SlowConsumer, "app", 1);
            let mark = ledger.unwritten().unwrap();
            ledger.written(mark)
        });
        // Collected, so that every drop is counted before the first link waits.
        let links: Vec<_> = links.collect();
        for link in links {
            link.await;
        }
        let writes = writer.writes.load(Ordering::Relaxed) - before;
        assert_eq!(on_file(dir.path()), 100);
        assert_eq!(writes, 1);
    }

    /// While the file cannot be written, no mark is reached. When it can be written again, the waiting tasks continue.
    #[tokio::test]
    async fn marks_wait_while_the_disk_fails() {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("ledger");
        let ledger = Ledger::open("doppler", Some(&dir)).unwrap();
        let away = base.path().join("away");
        fs::rename(&dir, &away).unwrap();
        ledger.dropped("egress", Reason::SlowConsumer, "app", 3);
        let mark = ledger.unwritten().unwrap();
        assert!(ledger.persist().is_err());
        assert_eq!(ledger.unwritten(), Some(mark));
        fs::rename(&away, &dir).unwrap();
        ledger.written(mark).await;
        assert_eq!(on_file(&dir), 3);
    }

    /// An empty, a truncated and a corrupt file are set aside, and counting starts at zero.
    #[test]
    fn a_broken_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        for (kept, broken) in ["", "{\"component\":\"dopp", "\0\0\0\0"].into_iter().enumerate() {
            fs::write(dir.path().join("doppler.json"), broken).unwrap();
            let ledger = Ledger::open("doppler", Some(dir.path())).unwrap();
            assert_eq!(ledger.snapshot().received, 0);
            assert_eq!(on_file(dir.path()), 0);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), kept + 2);
        }
    }
}
