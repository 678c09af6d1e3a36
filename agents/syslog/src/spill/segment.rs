//! One segment: a file of records.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use weir_envelope::batch::Batch;

use super::index;
use super::record::{self, HEADER, Header, Kind};
use super::{Entry, Place, Stored, StoredContent};

const MAGIC: &[u8; 8] = b"WEIRSPL1";
const EXTENSION: &str = "seg";

pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}.{EXTENSION}"))
}

/// Returns the paths of a segment and of its index.
pub(super) fn paths(folder: &Path, number: u64) -> [PathBuf; 2] {
    [path(folder, number), index::path(folder, number)]
}

/// Removes a segment and its index.
pub(super) fn remove(folder: &Path, number: u64) -> io::Result<()> {
    match fs::remove_file(path(folder, number)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => index::remove(folder, number),
    }
}

/// Returns the numbers of the segments in `folder`, in order. A number counts if the segment or its index exists.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        // Index files count, too: a segment without its records must still be counted.
        let is_ours = |extension| extension == EXTENSION || extension == index::EXTENSION;
        if path.extension().is_some_and(is_ours)
            && let Some(number) = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// The result of reading at a place.
#[derive(Debug)]
pub(super) enum Found {
    /// A record and its size in bytes.
    Record(Stored, usize),
    /// Something that cannot be read. About `envelopes` envelopes are lost, and the next record begins at `end`.
    Damaged { envelopes: u64, end: Place },
}

/// A file of records, and the counts of what is in it.
#[derive(Debug)]
pub(super) struct Segment {
    number: u64,
    /// The number of bytes up to the end of the last complete record.
    len: u64,
    /// The number of envelopes that were appended to the spill before this segment.
    pub(super) before: u64,
    records: u64,
    /// The number of envelopes that were ever in its records.
    appended: u64,
    /// The part of `appended` that is not known to be unreadable.
    pub(super) envelopes: u64,
    /// The number of envelopes that were delivered or counted as lost.
    pub(super) settled: u64,
    /// The number of envelopes that were handed to the drain. It is at least `settled`.
    pub(super) read: u64,
    /// When the oldest envelope arrived, in nanoseconds since the epoch.
    pub(super) first_arrived: i64,
    writing: Option<Writing>,
    reading: Option<File>,
}

/// The open files of the segment that is being written.
#[derive(Debug)]
struct Writing {
    records: File,
    index: index::Writer,
}

impl Segment {
    /// Creates a segment.
    pub(super) fn create(folder: &Path, number: u64, before: u64) -> io::Result<Self> {
        weir_files::private_directory(folder)?;
        let index = index::Writer::create(folder, number)?;
        // `create_new`, because a file with this number would belong to a segment that nobody has found.
        let path = path(folder, number);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        if let Err(error) = file.write_all_at(MAGIC, 0) {
            // Empty files would do no harm, because the next start removes them.
            drop(fs::remove_file(&path));
            drop(index::remove(folder, number));
            return Err(error);
        }
        Ok(Self {
            writing: Some(Writing { records: file, index }),
            ..Self::empty(number, before)
        })
    }

    const fn empty(number: u64, before: u64) -> Self {
        Self {
            number,
            len: MAGIC.len() as u64,
            before,
            records: 0,
            appended: 0,
            envelopes: 0,
            settled: 0,
            read: 0,
            first_arrived: 0,
            writing: None,
            reading: None,
        }
    }

    /// Opens a segment that a previous run of the agent wrote. `before` is the number of envelopes that were appended
    /// before it, for the case that its index does not say. Records are found by their headers and by the index,
    /// whichever is intact. A damaged record is counted when it is read. In the newest segment, records without an
    /// index entry are verified, and an incomplete end is cut off. Returns `None` if the segment contains nothing.
    pub(super) fn scan(folder: &Path, number: u64, newest: bool, before: u64) -> io::Result<Option<Self>> {
        let entries = index::read(folder, number)?;
        let file = match OpenOptions::new().read(true).write(newest).open(path(folder, number)) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let size = match &file {
            Some(file) => file.metadata()?.len(),
            None => 0,
        };
        if entries.is_empty() && !file.as_ref().is_some_and(has_magic) {
            return Ok(None);
        }
        let before = entries.first().map_or(before, |first| match first.offset {
            offset if offset == MAGIC.len() as u64 => first.before,
            // The records before the first entry are counted with this segment.
            _ => before.min(first.before),
        });
        let mut segment = Self::empty(number, before);
        let mut entries = entries.into_iter().peekable();
        loop {
            // Entries before this position describe records that were already found by their headers.
            while entries.next_if(|entry| entry.offset < segment.len).is_some() {}
            let header = match &file {
                Some(file) => header_at(file, segment.len, size)?,
                None => None,
            };
            match (entries.peek(), header) {
                (Some(entry), header) if entry.offset == segment.len => {
                    let arrived = header.map_or(segment.first_arrived, |(header, _)| header.arrived);
                    segment.note(u64::from(entry.size), u64::from(entry.envelopes), arrived);
                }
                (next, Some((header, raw)))
                    if next.is_none_or(|next| segment.len + header.size() <= next.offset)
                        && (!newest || is_whole(file.as_ref(), segment.len, header, &raw)?) =>
                {
                    segment.note(header.size(), u64::from(header.envelopes), header.arrived);
                }
                // Neither the headers nor the index tell what is between two known records, so it is treated as one
                // record.
                (Some(next), _) => {
                    let missing = next.before.saturating_sub(segment.before + segment.envelopes);
                    segment.note(next.offset - segment.len, missing, segment.first_arrived);
                }
                (None, _) => break,
            }
        }
        if segment.len < size {
            tracing::warn!(
                segment = number,
                bytes = size - segment.len,
                "the torn end of a spill is cut off"
            );
            // Only the newest segment is appended to. A torn end of an older one is skipped when it is read.
            if let Some(file) = file.filter(|_| newest) {
                file.set_len(segment.len)?;
            }
        }
        Ok(Some(segment))
    }

    fn note(&mut self, size: u64, envelopes: u64, arrived: i64) {
        if self.envelopes == 0 {
            self.first_arrived = arrived;
        }
        self.len += size;
        self.records += 1;
        self.appended += envelopes;
        self.envelopes += envelopes;
    }

    /// Returns the number of envelopes that were appended to the spill up to the end of this segment.
    pub(super) const fn total(&self) -> u64 {
        self.before + self.appended
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Returns the size in bytes on disk, including the index.
    pub(super) const fn disk(&self) -> u64 {
        self.len + self.records * index::SIZE as u64
    }

    pub(super) const fn start(&self) -> Place {
        Place {
            segment: self.number,
            offset: MAGIC.len() as u64,
            skip: 0,
        }
    }

    pub(super) const fn end(&self) -> Place {
        Place {
            segment: self.number,
            offset: self.len,
            skip: 0,
        }
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.writing.is_none()
    }

    /// Closes the segment. No further records are appended.
    pub(super) fn close(&mut self) {
        self.writing = None;
    }

    /// Appends a record. `before` is the number of envelopes that were appended to the spill before it. After an error
    /// nothing of the record is in the segment.
    pub(super) fn append(&mut self, record: &[u8], entry: &Entry, before: u64) -> io::Result<()> {
        let files = self.writing.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let indexed = index::Entry {
            offset: self.len,
            // The number of earlier envelopes is stored with each record, so that a loss before it can be counted.
            before,
            size: u32::try_from(record.len()).map_err(io::Error::other)?,
            envelopes: entry.envelopes,
        };
        let written = files.records.write_all_at(record, self.len);
        if let Err(error) = written.and_then(|()| files.index.append(indexed)) {
            // If the torn record cannot be cut off, nothing may be appended after it.
            if files.records.set_len(self.len).is_err() {
                self.writing = None;
            }
            return Err(error);
        }
        self.note(record.len() as u64, u64::from(entry.envelopes), entry.arrived);
        Ok(())
    }

    /// Reads the record at `place`.
    pub(super) fn read(&mut self, folder: &Path, place: Place) -> io::Result<Found> {
        let file = match self.reading.take() {
            Some(file) => file,
            None => match File::open(path(folder, self.number)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(self.rest_is_lost()),
                Err(error) => return Err(error),
            },
        };
        let size = file.metadata()?.len().min(self.len);
        let Some((header, raw)) = header_at(&file, place.offset, size)? else {
            return self.damaged(folder, place);
        };
        let payload = Bytes::from(payload_at(&file, place.offset, header)?);
        let end = Place {
            offset: place.offset + header.size(),
            skip: 0,
            ..place
        };
        // The checksum covers the header too, so a wrong length is detected before the payload is used.
        if !header.fits(&raw, &payload) {
            return self.damaged(folder, place);
        }
        let size = HEADER + payload.len();
        let content = match header.kind() {
            Some(Kind::Envelopes) => {
                let batch = Batch::split(payload).batch;
                if batch.len() as u64 != u64::from(header.envelopes) {
                    return self.damaged(folder, place);
                }
                let rest: Vec<u32> = (place.skip..header.envelopes).collect();
                StoredContent::Envelopes(batch.pick(&rest).unwrap_or_else(Batch::empty))
            }
            Some(Kind::Shipment) => match record::shipment(&payload) {
                Some((bytes, ends)) => StoredContent::Shipment { bytes, ends },
                None => return self.damaged(folder, place),
            },
            None => return self.damaged(folder, place),
        };
        // The file stays open for the next record, and is closed after the last one.
        if end < self.end() {
            self.reading = Some(file);
        }
        let stored = Stored {
            content,
            envelopes: header.envelopes.saturating_sub(place.skip),
            arrived: header.arrived,
            place,
            end,
        };
        Ok(Found::Record(stored, size))
    }

    const fn rest_is_lost(&self) -> Found {
        Found::Damaged {
            envelopes: self.envelopes - self.read,
            end: self.end(),
        }
    }

    /// Returns how much is lost at a place that cannot be read: one record if the index knows it, otherwise everything
    /// up to the next record that the index knows.
    fn damaged(&self, folder: &Path, place: Place) -> io::Result<Found> {
        // The index is read only for damaged records, so reading a backlog normally needs no index in memory.
        let entries = index::read(folder, self.number)?;
        let at = entries.partition_point(|entry| entry.offset < place.offset);
        let Some(next) = entries.get(at).filter(|entry| entry.offset < self.len) else {
            return Ok(self.rest_is_lost());
        };
        let place_of = |offset: u64| Place {
            offset: offset.min(self.len),
            skip: 0,
            ..place
        };
        Ok(if next.offset == place.offset {
            Found::Damaged {
                envelopes: u64::from(next.envelopes.saturating_sub(place.skip)),
                end: place_of(next.end()),
            }
        } else {
            let behind: u64 = self.total().saturating_sub(next.before);
            Found::Damaged {
                envelopes: (self.envelopes - self.read).saturating_sub(behind),
                end: place_of(next.offset),
            }
        })
    }

    /// Returns how many envelopes are before `place`, and `place` itself, or the start of the last record before it if
    /// `place` is not valid.
    pub(super) fn envelopes_before(&self, folder: &Path, place: Place) -> io::Result<(u64, Place)> {
        let entries = index::read(folder, self.number)?;
        let file = File::open(path(folder, self.number)).ok();
        let size = match &file {
            Some(file) => file.metadata()?.len(),
            None => 0,
        };
        let mut at = self.start();
        let mut envelopes = 0;
        while at.offset < self.len {
            let known = entries.partition_point(|entry| entry.offset < at.offset);
            let known = entries.get(known);
            let (next, holds) = match known.filter(|entry| entry.offset == at.offset) {
                Some(entry) => (entry.end(), entry.envelopes),
                None => match &file {
                    Some(file) if let Some((header, _)) = header_at(file, at.offset, size)? => {
                        (at.offset + header.size(), header.envelopes)
                    }
                    // This part was treated as one record when the segment was opened.
                    _ => {
                        let Some(next) = known else { break };
                        let missing = next.before.saturating_sub(self.before + envelopes);
                        (next.offset, u32::try_from(missing).unwrap_or(u32::MAX))
                    }
                },
            };
            if next > place.offset {
                if at.offset == place.offset && place.skip < holds {
                    return Ok((envelopes + u64::from(place.skip), place));
                }
                return Ok((envelopes, at));
            }
            envelopes += u64::from(holds);
            at.offset = next;
        }
        Ok((envelopes, at))
    }

    /// Returns all readable records from `from` on.
    pub(super) fn contents(&self, folder: &Path, from: Place) -> io::Result<Vec<Stored>> {
        let mut copy = Self {
            writing: None,
            reading: None,
            ..*self
        };
        let mut found = Vec::new();
        let mut place = from.max(self.start());
        while place.segment == self.number && place.offset < self.len {
            match copy.read(folder, place)? {
                Found::Record(stored, _) => {
                    place = stored.end;
                    found.push(stored);
                }
                Found::Damaged { end, .. } => place = end,
            }
        }
        Ok(found)
    }
}

/// Reads the header at `offset`. Returns `None` if no complete record can be there.
fn header_at(file: &File, offset: u64, len: u64) -> io::Result<Option<(Header, [u8; HEADER])>> {
    if len.saturating_sub(offset) < HEADER as u64 {
        return Ok(None);
    }
    let mut raw = [0; HEADER];
    file.read_exact_at(&mut raw, offset)?;
    let header = Header::read(&raw).filter(|header| header.size() <= len - offset);
    Ok(header.map(|header| (header, raw)))
}

fn has_magic(file: &File) -> bool {
    let mut magic = [0; MAGIC.len()];
    file.read_exact_at(&mut magic, 0).is_ok() && &magic == MAGIC
}

/// Returns whether the checksum of the record at `offset` matches.
fn is_whole(file: Option<&File>, offset: u64, header: Header, raw: &[u8; HEADER]) -> io::Result<bool> {
    let Some(file) = file else { return Ok(false) };
    Ok(header.fits(raw, &payload_at(file, offset, header)?))
}

fn payload_at(file: &File, offset: u64, header: Header) -> io::Result<Vec<u8>> {
    let mut payload = vec![0; header.length as usize];
    file.read_exact_at(&mut payload, offset + HEADER as u64)?;
    Ok(payload)
}
