//! The file of the cursor: up to where a spill is settled.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Place;

/// The size in bytes of the file: segment, offset, skip, number of settled envelopes, checksum.
const SIZE: usize = 32;

/// The size in bytes of the file as earlier versions wrote it, without the number of envelopes.
const FORMER_SIZE: usize = 24;

fn path(folder: &Path) -> PathBuf {
    folder.join("cursor")
}

/// Returns whether there is a cursor file, readable or not.
pub(super) fn exists(folder: &Path) -> bool {
    path(folder).exists()
}

/// Reads the cursor, and the number of envelopes that were settled until then if the file contains it. Returns `None`
/// if there is no valid file.
pub(super) fn read(folder: &Path) -> Option<(Place, Option<u64>)> {
    let bytes = fs::read(path(folder)).ok()?;
    // Agents before the count of settled envelopes wrote the shorter form.
    if bytes.len() != SIZE && bytes.len() != FORMER_SIZE {
        return None;
    }
    let (fields, crc) = bytes.split_at(bytes.len() - 4);
    if crc32fast::hash(fields) != u32::from_le_bytes(crc.try_into().ok()?) {
        return None;
    }
    let place = Place {
        segment: u64::from_le_bytes(fields[..8].try_into().ok()?),
        offset: u64::from_le_bytes(fields[8..16].try_into().ok()?),
        skip: u32::from_le_bytes(fields[16..20].try_into().ok()?),
    };
    let settled = fields[20..].try_into().map(u64::from_le_bytes).ok();
    Some((place, settled))
}

/// Writes the cursor in place with one call, so that after a kill either the old or the new one is there.
pub(super) fn write(folder: &Path, place: Place, settled: u64) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(SIZE);
    bytes.extend_from_slice(&place.segment.to_le_bytes());
    bytes.extend_from_slice(&place.offset.to_le_bytes());
    bytes.extend_from_slice(&place.skip.to_le_bytes());
    bytes.extend_from_slice(&settled.to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    // Written in place and not renamed: it is written often, and the checksum detects a torn write.
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path(folder))?;
    file.write_all_at(&bytes, 0)
}
