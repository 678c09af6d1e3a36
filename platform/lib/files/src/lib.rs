//! The small files in which Weir keeps its state: ledgers, bindings, tokens, keys, configuration.
//!
//! - [`replace`] and [`create`] write a file as a whole: a reader, a killed process and a power cut all leave either the
//!   old content or the new one. The content is synced before the file gets its name, and the directory after it.
//! - [`read_or_set_aside`] reads a file whose loss costs no more than it holds. A broken one is renamed, so that nothing is
//!   destroyed, and its reader begins anew. A file that others rely on (a token, a key, a CA) is not for it: such a file
//!   must never be made anew in silence.
//! - [`lock`] and [`try_lock`] keep other processes out; [`is_locked`] looks whether one is in.
//! - [`private_directory`] and [`make_directory`] make directories that no other user looks into.
//!
//! All of it blocks its thread. Files are at most a few megabytes long, and the caller decides where that is tolerable.

mod directory;
mod lock;
mod read;
mod write;

pub use directory::{make_directory, private_directory};
pub use lock::{is_locked, lock, try_lock};
pub use read::read_or_set_aside;
pub use write::{Readers, create, replace};
