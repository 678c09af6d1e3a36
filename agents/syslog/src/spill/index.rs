//! The index of a segment, in a file of its own: where each record is and how many envelopes it holds.
//!
//! A damaged record is located and counted with the index, and a damaged index with the records. Each entry has its own
//! checksum and can be used without the others.
//!
//! ```text
//! 0000000000000001.idx   entry | entry | …, one for each record
//! entry   offset u64 | before u64 | size u32 | envelopes u32 | crc32 u32
//!         before: envelopes that were ever appended to this spill before the record
//! ```

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The size in bytes of an entry.
pub(super) const SIZE: usize = 28;

pub(super) const EXTENSION: &str = "idx";

/// The position of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) offset: u64,
    /// The number of envelopes that were appended to the spill before this record.
    pub(super) before: u64,
    /// The size in bytes of the record.
    pub(super) size: u32,
    pub(super) envelopes: u32,
}

impl Entry {
    /// Returns the offset at which the next record begins.
    pub(super) const fn end(&self) -> u64 {
        self.offset + self.size as u64
    }

    fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.before.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.size.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.envelopes.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..SIZE - 4]);
        bytes[SIZE - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes an entry. Returns `None` if the checksum does not match.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (entry, crc) = bytes.split_at_checked(SIZE - 4)?;
        if crc32fast::hash(entry) != u32::from_le_bytes(crc.try_into().ok()?) {
            return None;
        }
        Some(Self {
            offset: u64::from_le_bytes(entry[..8].try_into().ok()?),
            before: u64::from_le_bytes(entry[8..16].try_into().ok()?),
            size: u32::from_le_bytes(entry[16..20].try_into().ok()?),
            envelopes: u32::from_le_bytes(entry[20..].try_into().ok()?),
        })
    }
}

pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}.{EXTENSION}"))
}

/// Returns the valid entries of a segment, in order.
pub(super) fn read(folder: &Path, number: u64) -> io::Result<Vec<Entry>> {
    let bytes = match fs::read(path(folder, number)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut entries: Vec<Entry> = Vec::new();
    for entry in bytes.chunks_exact(SIZE).filter_map(Entry::decode) {
        // An entry that overlaps its predecessor is damaged, although its checksum is right.
        if entries.last().is_none_or(|last| last.end() <= entry.offset) {
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Removes the index of a segment, if there is one.
pub(super) fn remove(folder: &Path, number: u64) -> io::Result<()> {
    match fs::remove_file(path(folder, number)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes the index of a new segment.
#[derive(Debug)]
pub(super) struct Writer {
    file: File,
    len: u64,
}

impl Writer {
    pub(super) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path(folder, number))?;
        Ok(Self { file, len: 0 })
    }

    /// Appends an entry. If this fails, the next entry overwrites what was written.
    pub(super) fn append(&mut self, entry: Entry) -> io::Result<()> {
        self.file.write_all_at(&entry.encode(), self.len)?;
        self.len += SIZE as u64;
        Ok(())
    }
}
