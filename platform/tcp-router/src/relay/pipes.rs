//! Pipes for splicing: a bounded number, which the directions of all connections share.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Bytes that a pipe is asked to hold.
const SIZE: usize = 1 << 20;

/// A pipe, which is empty unless a direction holds it.
#[derive(Debug)]
pub(super) struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    /// Bytes that it holds at most.
    size: usize,
}

impl Pipe {
    fn open() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A user may have so many pages in pipes; beyond them a pipe stays small.
        let size = fcntl_setpipe_size(&writer, SIZE).unwrap_or(64 * 1024);
        Ok(Self { reader, writer, size })
    }

    /// Moves bytes of `from` into the pipe, which has to be empty: 0 at the end.
    pub(super) fn fill_from(&self, from: impl AsFd) -> io::Result<usize> {
        Ok(splice(from, None, &self.writer, None, self.size, FLAGS)?)
    }

    /// Moves up to `count` bytes of the pipe to `to`.
    pub(super) fn empty_into(&self, to: impl AsFd, count: usize) -> io::Result<usize> {
        Ok(splice(&self.reader, None, to, None, count, FLAGS)?)
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// The pipes of a router. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Pipes {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Pipes that exist.
    count: usize,
    idle: Vec<Pipe>,
}

impl Pipes {
    /// At most `most` pipes.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                most,
                kept: Mutex::default(),
            }),
        }
    }

    /// An empty pipe, unless all are in use or the system gives no more.
    pub(super) fn take(&self) -> Option<Pipe> {
        let mut kept = self.shared.kept.lock();
        if let Some(pipe) = kept.idle.pop() {
            return Some(pipe);
        }
        if kept.count == self.shared.most {
            return None;
        }
        let pipe = Pipe::open().ok()?;
        kept.count += 1;
        Some(pipe)
    }

    /// Takes back a pipe that is empty.
    pub(super) fn put(&self, pipe: Pipe) {
        self.shared.kept.lock().idle.push(pipe);
    }
}
