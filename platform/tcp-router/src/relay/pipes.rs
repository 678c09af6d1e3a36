//! Pipes for splicing: a bounded number, which the directions of all connections share.
//!
//! A direction takes a pipe when there is something to move, and gives it back when the pipe is empty. A pipe that still holds
//! bytes when its connection breaks is closed, because they must not reach another connection.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// Bytes that a pipe is asked to hold. Larger ones carry no more for the same work.
const SIZE: usize = 256 * 1024;

/// Bytes that a pipe holds if it is not asked.
const PLAIN: usize = 64 * 1024;

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
    idle: Vec<Ends>,
}

/// A pipe.
#[derive(Debug)]
struct Ends {
    reader: OwnedFd,
    writer: OwnedFd,
    /// Bytes that it holds at most.
    size: usize,
}

impl Ends {
    fn open() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Linux lets a user without privileges have 64 MiB in pipes; beyond that a pipe stays small.
        let size = fcntl_setpipe_size(&writer, SIZE).unwrap_or(PLAIN);
        Ok(Self { reader, writer, size })
    }
}

/// A pipe that one direction has until this is dropped.
#[derive(Debug)]
pub(super) struct Pipe {
    /// Never `None` before it is dropped.
    ends: Option<Ends>,
    /// Bytes in it.
    held: usize,
    shared: Arc<Shared>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut kept = self.shared.kept.lock();
        match self.ends.take() {
            Some(ends) if self.held == 0 => kept.idle.push(ends),
            _ => kept.count -= 1,
        }
    }
}

impl Pipe {
    /// Whether nothing is in it.
    pub(super) const fn is_empty(&self) -> bool {
        self.held == 0
    }

    /// Moves bytes of `from` into the pipe, which has to be empty; how many: 0 at the end.
    pub(super) fn fill_from(&mut self, from: impl AsFd) -> io::Result<usize> {
        let ends = self.ends();
        let count = splice(from, None, &ends.writer, None, ends.size, FLAGS)?;
        self.held += count;
        Ok(count)
    }

    /// Moves bytes of the pipe to `to`; how many.
    pub(super) fn empty_into(&mut self, to: impl AsFd) -> io::Result<usize> {
        let count = splice(&self.ends().reader, None, to, None, self.held, FLAGS)?;
        self.held -= count;
        Ok(count)
    }

    fn ends(&self) -> &Ends {
        self.ends.as_ref().expect("a pipe has its ends until it is dropped")
    }
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
        let ends = match kept.idle.pop() {
            Some(ends) => ends,
            None if kept.count == self.shared.most => return None,
            None => {
                let ends = Ends::open().ok()?;
                kept.count += 1;
                ends
            }
        };
        Some(Pipe {
            ends: Some(ends),
            held: 0,
            shared: Arc::clone(&self.shared),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        (client, listener.accept().expect("a connection").0)
    }

    /// There are as many pipes as allowed. An empty one is used again, and one with bytes in it is not.
    #[test]
    fn pipes_are_bounded_and_clean() {
        let pipes = Pipes::new(1);
        let (mut client, server) = connection();
        let mut pipe = pipes.take().expect("a pipe");
        assert!(pipes.take().is_none());
        client.write_all(b"secret").expect("written");
        assert_eq!(pipe.fill_from(&server).expect("moved"), 6);
        drop(pipe);
        let (mut client, server) = connection();
        let mut pipe = pipes.take().expect("another pipe");
        client.write_all(b"hello").expect("written");
        assert_eq!(pipe.fill_from(&server).expect("moved"), 5);
        let (mut there, here) = connection();
        while !pipe.is_empty() {
            pipe.empty_into(&here).expect("moved");
        }
        let mut heard = [0; 5];
        there.read_exact(&mut heard).expect("read");
        assert_eq!(&heard, b"hello");
        drop(pipe);
        assert_eq!(pipes.shared.kept.lock().idle.len(), 1);
        assert!(pipes.take().is_some() && Pipes::new(0).take().is_none());
    }
}
