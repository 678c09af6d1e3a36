//! The cursor's file: how far a spill is settled.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::Place;

/// Segment, offset, skip, checksum.
const SIZE: usize = 24;

fn path(folder: &Path) -> PathBuf {
    folder.join("cursor")
}

/// The cursor on file; `None` if there is none that can be believed.
pub(super) fn read(folder: &Path) -> Option<Place> {
    let bytes: [u8; SIZE] = fs::read(path(folder)).ok()?.try_into().ok()?;
    let (place, crc) = bytes.split_at(SIZE - 4);
    if crc32fast::hash(place) != u32::from_le_bytes(crc.try_into().ok()?) {
        return None;
    }
    Some(Place {
        segment: u64::from_le_bytes(place[..8].try_into().ok()?),
        offset: u64::from_le_bytes(place[8..16].try_into().ok()?),
        skip: u32::from_le_bytes(place[16..].try_into().ok()?),
    })
}

/// Writes it in place, in one call: a kill leaves the old one or the new one.
pub(super) fn write(folder: &Path, place: Place) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(SIZE);
    bytes.extend_from_slice(&place.segment.to_le_bytes());
    bytes.extend_from_slice(&place.offset.to_le_bytes());
    bytes.extend_from_slice(&place.skip.to_le_bytes());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path(folder))?;
    file.write_all_at(&bytes, 0)
}
