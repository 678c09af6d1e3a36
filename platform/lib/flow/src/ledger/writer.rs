//! The thread that writes a ledger's file.
//!
//! Whoever needs the file to be as new as the counts says so and waits; one write serves all that wait when it begins. A
//! write that fails is tried again until it succeeds, and meanwhile no acknowledgement that relies on it leaves.

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

/// Least time between two writes: what is dropped meanwhile shares the next one.
const BETWEEN_WRITES: Duration = Duration::from_millis(10);

/// Time after which a write that failed is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Of the failures in a row, the first is logged, and then each that follows so many others (a minute's worth).
const LOGGED_EVERY: u64 = 120;

/// Writes the counts of one ledger; dropping it ends its thread.
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
    /// There are new orders.
    ordered: Condvar,
    /// What the file holds. Locked while it is written, so that an older state never replaces a newer one.
    content: Mutex<Vec<u8>>,
    /// The drops that are on file, as a [`Mark`].
    on_file: AtomicU64,
    /// The file was written.
    written: Notify,
    /// How often it was.
    #[cfg(test)]
    writes: AtomicU64,
}

#[derive(Debug, Default)]
struct Orders {
    write: bool,
    stop: bool,
}

impl Writer {
    /// Writes `file` once and starts the thread that keeps it.
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

    /// Whether the drops counted up to `mark` are on file.
    pub(super) fn has_written(&self, mark: Mark) -> bool {
        self.shared.has_written(mark)
    }

    /// Waits until the drops counted up to `mark` are on file. Cancel safe.
    pub(super) async fn written(&self, mark: Mark) {
        loop {
            // Made before the look: a write that ends in between wakes it.
            let written = self.shared.written.notified();
            if self.has_written(mark) {
                return;
            }
            self.request();
            written.await;
        }
    }

    /// Has the file written soon.
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
    /// Waits for a write that is under way: whoever opens the file next must find it at rest.
    fn drop(&mut self) {
        self.shared.orders.lock().stop = true;
        self.shared.ordered.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been told where it happened.
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
                    self.pause(AGAIN);
                }
            }
        }
    }

    /// Waits until the file is to be written; `false` once the thread is to end.
    fn ordered(&self) -> bool {
        let mut orders = self.orders.lock();
        while !orders.write && !orders.stop {
            self.ordered.wait(&mut orders);
        }
        orders.write = false;
        !orders.stop
    }

    /// Waits for `time`, or until the thread is to end.
    fn pause(&self, time: Duration) {
        let mut orders = self.orders.lock();
        let ends = |orders: &mut Orders| !orders.stop;
        self.ordered.wait_while_for(&mut orders, ends, time);
    }

    /// Writes the counts, unless the file holds the same already.
    fn write(&self) -> io::Result<()> {
        let mut content = self.content.lock();
        // Read before the counts: they hold at least what it stands for.
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

    /// A mark that is reached stands for a file that has the drops; without new drops there is nothing to wait for.
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

    /// All that wait at one time are served together, by the thread of the ledger: a hundred links do not write a hundred
    /// times.
    #[tokio::test]
    async fn those_that_wait_share_a_write() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open("doppler", Some(dir.path())).unwrap();
        let writer = &ledger.writer.as_ref().unwrap().shared;
        let before = writer.writes.load(Ordering::Relaxed);
        let links = (0..100).map(|_| {
            ledger.dropped("egress", Reason::SlowConsumer, "app", 1);
            let mark = ledger.unwritten().unwrap();
            ledger.written(mark)
        });
        // Collected first: every drop is counted before the first link waits.
        let links: Vec<_> = links.collect();
        for link in links {
            link.await;
        }
        let writes = writer.writes.load(Ordering::Relaxed) - before;
        assert_eq!(on_file(dir.path()), 100);
        assert_eq!(writes, 1);
    }

    /// While the file cannot be written nothing is called written; when it can be again, all that waited goes on.
    #[tokio::test]
    async fn a_disk_that_fails_holds_marks_back() {
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

    /// An empty, a truncated and a garbage file are set aside, and counting begins anew.
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
