//! A value made from files that follows them.
//!
//! Whoever asks for the value pays for the look: at most once per interval one caller compares the files' stamps (length,
//! modification time, inode) with those of the value; the others take what is there. A new value replaces the old one
//! whole. Files that do not make a value leave the old one in place and are tried again at every look, so that a pair that
//! is replaced one file after the other is taken as soon as it is complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use weir_error::{Classify as _, chain};

use crate::TlsError;

/// The shortest time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The shortest time between two complaints about the same files.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

type Build<T> = Arc<dyn Fn() -> Result<T, TlsError> + Send + Sync>;

/// A value of type `T` made from `files`.
pub(crate) struct Reloading<T> {
    current: RwLock<Arc<T>>,
    watch: Mutex<Watch>,
    files: Vec<PathBuf>,
    build: Build<T>,
}

struct Watch {
    looked: Instant,
    /// Of the files that `current` was made from.
    stamps: Vec<Option<Stamp>>,
    complained: Option<Instant>,
    swallowed: u64,
}

#[derive(PartialEq, Eq, Clone, Copy)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

impl<T> Reloading<T> {
    /// The first value, and how to make the next.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        build: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        // Stamped before reading: a change while we read is seen at the next look.
        let stamps = stamps(&files);
        let value = build()?;
        Ok(Self::with(files, Arc::new(build), value, stamps))
    }

    /// Another value that follows the same files, made from this one's.
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
            looked: now(),
            stamps,
            complained: None,
            swallowed: 0,
        };
        Self {
            current: RwLock::new(Arc::new(value)),
            watch: Mutex::new(watch),
            files,
            build,
        }
    }

    /// The value of the files as they are now, or were at the last look.
    pub(crate) fn get(&self) -> Arc<T> {
        if let Some(mut watch) = self.watch.try_lock()
            && watch.looked.elapsed() >= LOOK_EVERY
        {
            watch.looked = now();
            self.look(&mut watch);
        }
        Arc::clone(&self.current.read())
    }

    fn look(&self, watch: &mut Watch) {
        let stamps = stamps(&self.files);
        if stamps == watch.stamps {
            return;
        }
        match (self.build)() {
            Ok(value) => {
                *self.current.write() = Arc::new(value);
                *watch = Watch {
                    looked: watch.looked,
                    stamps,
                    complained: None,
                    swallowed: 0,
                };
                tracing::info!(files = ?self.files, "certificate files were reloaded");
            }
            Err(error) if watch.complained.is_none_or(|then| then.elapsed() >= COMPLAIN_EVERY) => {
                tracing::warn!(
                    error = %chain(&error),
                    hint = error.hint(),
                    swallowed = watch.swallowed,
                    "certificate files have changed and are not usable, the old ones stay in use"
                );
                watch.complained = Some(now());
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
