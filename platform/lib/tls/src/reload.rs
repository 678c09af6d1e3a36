//! A value that is made from files and follows them.
//!
//! There is no task that watches the files. At most once per interval, one caller compares the stamps of the files
//! (length, modification time, inode) with those of the value; other callers get the present value. A new value
//! replaces the old one in one step. Files that are not usable leave the old value in place and are read again at every
//! check, so that a pair of files which is replaced one after the other is used as soon as it is complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use weir_error::{Classify as _, chain};

use crate::TlsError;

/// The shortest time between two checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest time between two warnings about files that are not usable.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// Makes a value from the present content of the files.
type Build<T> = Arc<dyn Fn() -> Result<T, TlsError> + Send + Sync>;

/// A value of type `T` made from `files`.
pub(crate) struct Reloading<T> {
    current: RwLock<Arc<T>>,
    watch: Mutex<Watch>,
    files: Vec<PathBuf>,
    build: Build<T>,
}

/// The state of the checks.
struct Watch {
    checked: Instant,
    /// The stamps of the files from which `current` was made.
    stamps: Vec<Option<Stamp>>,
    warned: Option<Instant>,
    /// How many warnings were left out since the last one.
    swallowed: u64,
}

/// The properties of a file by which a change is noticed.
#[derive(PartialEq, Eq, Clone, Copy)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl<T> Reloading<T> {
    /// Makes the first value with `build`, which is called again when `files` change.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        build: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        // The stamps are taken before the files are read, so that a change in between is noticed at the next check.
        let stamps = stamps(&files);
        let value = build()?;
        Ok(Self::with(files, Arc::new(build), value, stamps))
    }

    /// A value that is made from this one and follows the files by itself.
    pub(crate) fn map<U>(&self, change: impl Fn(T) -> U + Send + Sync + 'static) -> Reloading<U>
    where
        T: Clone + 'static,
    {
        let stamps = self.watch.lock().stamps.clone();
        let value = change(T::clone(&self.current.read()));
        let build = Arc::clone(&self.build);
        Reloading::with(
            self.files.clone(),
            Arc::new(move || build().map(&change)),
            value,
            stamps,
        )
    }

    fn with(files: Vec<PathBuf>, build: Build<T>, value: T, stamps: Vec<Option<Stamp>>) -> Self {
        let watch = Watch {
            checked: now(),
            stamps,
            warned: None,
            swallowed: 0,
        };
        Self {
            current: RwLock::new(Arc::new(value)),
            watch: Mutex::new(watch),
            files,
            build,
        }
    }

    /// The value of the files as they were at the last check.
    pub(crate) fn get(&self) -> Arc<T> {
        // If another caller checks at the moment, this one does not wait for it.
        if let Some(mut watch) = self.watch.try_lock()
            && watch.checked.elapsed() >= CHECK_INTERVAL
        {
            watch.checked = now();
            self.check(&mut watch);
        }
        Arc::clone(&self.current.read())
    }

    /// Makes a new value if the files have changed.
    fn check(&self, watch: &mut Watch) {
        let stamps = stamps(&self.files);
        if stamps == watch.stamps {
            return;
        }
        // On an error the stamps stay those of the old value, so that the next check reads the files again.
        match (self.build)() {
            Ok(value) => {
                *self.current.write() = Arc::new(value);
                *watch = Watch {
                    checked: watch.checked,
                    stamps,
                    warned: None,
                    swallowed: 0,
                };
                tracing::info!(files = ?self.files, "certificate files were reloaded");
            }
            Err(error) if watch.warned.is_none_or(|then| then.elapsed() >= WARNING_INTERVAL) => {
                tracing::warn!(
                    error = %chain(&error),
                    hint = error.hint(),
                    swallowed = watch.swallowed,
                    "certificate files have changed and are not usable: the old certificates stay in use"
                );
                watch.warned = Some(now());
                watch.swallowed = 0;
            }
            Err(_) => watch.swallowed += 1,
        }
    }
}

impl<T> std::fmt::Debug for Reloading<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Reloading")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn now() -> Instant {
    Instant::now()
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let inode = 0;
    Some(Stamp {
        length: metadata.len(),
        modified: metadata.modified().ok(),
        inode,
    })
}

#[cfg(test)]
mod tests;
