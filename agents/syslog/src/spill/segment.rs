//! One segment: a file of records.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use weir_envelope::batch::Batch;

use super::record::{self, HEADER, Header, Kind};
use super::{Entry, Place, Stored, StoredContent};

const MAGIC: &[u8; 8] = b"WEIRSPL1";
const EXTENSION: &str = "seg";

/// Makes sure that `folder` exists and that nobody else looks into it: it holds what apps say.
pub(super) fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if fs::metadata(folder)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:016x}.{EXTENSION}"))
}

/// The numbers of the segments in `folder`.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if path.extension().is_some_and(|extension| extension == EXTENSION)
            && let Some(number) = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok())
        {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

/// What lies at a place.
#[derive(Debug)]
pub(super) enum Found {
    /// A record, and its size.
    Record(Stored, usize),
    /// Something that cannot be read: about so many envelopes are lost; the next record begins at `end`.
    Damaged { envelopes: u64, end: Place },
}

/// A file of records, and what is known of it.
#[derive(Debug)]
pub(super) struct Segment {
    number: u64,
    /// Bytes that are valid; what lies behind them was never finished.
    len: u64,
    /// In all records.
    pub(super) envelopes: u64,
    /// Delivered, or counted as lost.
    pub(super) settled: u64,
    /// Handed to the drain; at least those settled.
    pub(super) read: u64,
    /// Arrival of the oldest.
    pub(super) first_arrived: i64,
    writing: Option<File>,
    reading: Option<File>,
}

impl Segment {
    /// Begins a segment.
    pub(super) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        private_folder(folder)?;
        let path = path(folder, number);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        if let Err(error) = file.write_all_at(MAGIC, 0) {
            // An empty file would be found and removed at the next start too.
            drop(fs::remove_file(&path));
            return Err(error);
        }
        Ok(Self {
            number,
            len: MAGIC.len() as u64,
            envelopes: 0,
            settled: 0,
            read: 0,
            first_arrived: 0,
            writing: Some(file),
            reading: None,
        })
    }

    /// Looks at a segment of before. Of the newest one every record is checked, and what is torn is cut off; of the
    /// others, which were finished, only the headers are read. `None` if it is not a segment at all.
    pub(super) fn scan(folder: &Path, number: u64, newest: bool) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(newest).open(path(folder, number))?;
        let size = file.metadata()?.len();
        let mut magic = [0; MAGIC.len()];
        if size < MAGIC.len() as u64 || file.read_exact_at(&mut magic, 0).is_err() || &magic != MAGIC {
            return Ok(None);
        }
        let mut segment = Self {
            number,
            len: MAGIC.len() as u64,
            envelopes: 0,
            settled: 0,
            read: 0,
            first_arrived: 0,
            writing: None,
            reading: None,
        };
        while let Some((header, raw)) = header_at(&file, segment.len, size)? {
            if newest && !header.fits(&raw, &payload_at(&file, segment.len, header)?) {
                break;
            }
            segment.note(header.size(), header.envelopes, header.arrived);
        }
        if segment.len < size {
            tracing::warn!(
                segment = number,
                bytes = size - segment.len,
                "the torn end of a spill is cut off"
            );
            if newest {
                file.set_len(segment.len)?;
            }
        }
        Ok(Some(segment))
    }

    fn note(&mut self, size: u64, envelopes: u32, arrived: i64) {
        if self.envelopes == 0 {
            self.first_arrived = arrived;
        }
        self.len += size;
        self.envelopes += u64::from(envelopes);
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
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

    /// Takes no more records.
    pub(super) fn close(&mut self) {
        self.writing = None;
    }

    /// Appends a record. After an error nothing of it is there.
    pub(super) fn append(&mut self, record: &[u8], entry: &Entry) -> io::Result<()> {
        let file = self.writing.as_ref().ok_or(io::ErrorKind::NotFound)?;
        if let Err(error) = file.write_all_at(record, self.len) {
            if file.set_len(self.len).is_err() {
                self.writing = None;
            }
            return Err(error);
        }
        self.note(record.len() as u64, entry.envelopes, entry.arrived);
        Ok(())
    }

    /// Reads the record at `place`.
    pub(super) fn read(&mut self, folder: &Path, place: Place) -> io::Result<Found> {
        let file = match self.reading.take() {
            Some(file) => file,
            None => File::open(path(folder, self.number))?,
        };
        let rest_is_lost = Found::Damaged {
            envelopes: self.envelopes - self.read,
            end: self.end(),
        };
        let Some((header, raw)) = header_at(&file, place.offset, self.len)? else {
            return Ok(rest_is_lost);
        };
        let payload = Bytes::from(payload_at(&file, place.offset, header)?);
        let end = Place {
            offset: place.offset + header.size(),
            skip: 0,
            ..place
        };
        if end < self.end() {
            self.reading = Some(file);
        }
        let damaged = Found::Damaged {
            envelopes: u64::from(header.envelopes.saturating_sub(place.skip)),
            end,
        };
        if !header.fits(&raw, &payload) {
            return Ok(damaged);
        }
        let size = HEADER + payload.len();
        let content = match header.kind() {
            Some(Kind::Envelopes) => {
                let batch = Batch::split(payload).batch;
                if batch.len() as u64 != u64::from(header.envelopes) {
                    return Ok(damaged);
                }
                let rest: Vec<u32> = (place.skip..header.envelopes).collect();
                StoredContent::Envelopes(batch.pick(&rest).unwrap_or_else(Batch::empty))
            }
            Some(Kind::Shipment) => match record::shipment(&payload) {
                Some((bytes, ends)) => StoredContent::Shipment { bytes, ends },
                None => return Ok(damaged),
            },
            None => return Ok(damaged),
        };
        let stored = Stored {
            content,
            envelopes: header.envelopes.saturating_sub(place.skip),
            arrived: header.arrived,
            place,
            end,
        };
        Ok(Found::Record(stored, size))
    }

    /// How many envelopes lie before `place`, and the place itself, or the last record's before it if it is not one.
    pub(super) fn envelopes_before(&self, folder: &Path, place: Place) -> io::Result<(u64, Place)> {
        let file = File::open(path(folder, self.number))?;
        let mut at = self.start();
        let mut envelopes = 0;
        while let Some((header, _)) = header_at(&file, at.offset, self.len)? {
            if at.offset >= place.offset || at.offset + header.size() > place.offset {
                if at.offset == place.offset && place.skip < header.envelopes {
                    return Ok((envelopes + u64::from(place.skip), place));
                }
                return Ok((envelopes, at));
            }
            envelopes += u64::from(header.envelopes);
            at.offset += header.size();
        }
        Ok((envelopes, at))
    }

    /// The header at each record's place from `place` on, with the record's payload where the checksum fits.
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

/// The header at `offset`, if a whole record may lie there.
fn header_at(file: &File, offset: u64, len: u64) -> io::Result<Option<(Header, [u8; HEADER])>> {
    if len.saturating_sub(offset) < HEADER as u64 {
        return Ok(None);
    }
    let mut raw = [0; HEADER];
    file.read_exact_at(&mut raw, offset)?;
    let header = Header::read(&raw).filter(|header| header.size() <= len - offset);
    Ok(header.map(|header| (header, raw)))
}

fn payload_at(file: &File, offset: u64, header: Header) -> io::Result<Vec<u8>> {
    let mut payload = vec![0; header.length as usize];
    file.read_exact_at(&mut payload, offset + HEADER as u64)?;
    Ok(payload)
}
