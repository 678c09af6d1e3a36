//! The backlog of one binding on disk: what a drain that is away or slow could not take yet.
//!
//! A folder of segments, written at the end and read at the front, and a cursor that says up to where everything is
//! settled:
//!
//! ```text
//! spill/<binding id>/
//!   0000000000000001.seg   "WEIRSPL1" | record | record | …            (oldest: read here)
//!   0000000000000001.idx   what lies where in it ([`index`])
//!   0000000000000002.seg   "WEIRSPL1" | record | …                     (newest: written here)
//!   0000000000000002.idx
//!   cursor                 segment u64, offset u64, skip u32, settled u64, crc32 u32
//!
//! record  length u32 | crc32 u32 | arrived i64 (ns) | envelopes u32 | kind u8, 0 0 0 | payload (length bytes)
//!         crc32 is over everything behind it; kind 1: the fields of an EnvelopeBatch,
//!         kind 2: a shipment: count u32, the end of each message u32, the messages as they were to be sent
//! ```
//!
//! All numbers are little endian. A record is there as soon as its `write(2)` returned: it survives the kill of the
//! process. Nothing is synced, so a power cut may cost the last seconds. A tail that was never finished is cut off when the
//! folder is opened. A record that is damaged costs itself, and is counted as lost: the index knows where it ends and what
//! it held. A segment that is gone is counted by its index; where that is gone as well, by those before and after it, which
//! say how many envelopes were appended until then. The cursor is written now and then, so a killed agent repeats a little;
//! `skip` counts the envelopes of the record at `offset` that are settled already, and `settled` those that ever were.
//!
//! Bounded by a budget for each binding and one for the agent ([`Budget`]): beyond it the oldest segment goes, and is
//! counted. Everything here blocks; the drain's task calls it on a blocking thread.

mod budget;
mod cursor;
mod index;
mod record;
mod segment;
mod sources;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use weir_envelope::batch::Batch;
use weir_flow::Loss;

pub(crate) use budget::{Budget, Owed};

use budget::{Share, Verdict};
use segment::Segment;
pub(crate) use sources::of_messages as sources_of_messages;

/// Where something lies in a spill. Later things are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// Envelopes of the record at `offset` that lie before.
    pub(crate) skip: u32,
}

/// What is to be appended.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) content: Content,
    pub(crate) envelopes: u32,
    /// When its oldest envelope came in, in nanoseconds since the epoch.
    pub(crate) arrived: i64,
}

/// The payload of a record.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Envelopes as they came, one batch after the other.
    Envelopes(Vec<Batch>),
    /// Messages that were formatted already, and the end of each.
    Shipment { bytes: Bytes, ends: Vec<u32> },
}

/// A record that was read.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) content: StoredContent,
    /// The envelopes that are to be delivered: those of a batch that were settled before are not among them.
    pub(crate) envelopes: u32,
    pub(crate) arrived: i64,
    /// The record's own place, with how much of it was settled before.
    pub(crate) place: Place,
    /// Where the next one begins.
    pub(crate) end: Place,
}

/// The payload of a record that was read.
#[derive(Debug)]
pub(crate) enum StoredContent {
    /// Envelopes, without those that were settled before.
    Envelopes(Batch),
    /// Messages that were formatted already.
    Shipment { bytes: Bytes, ends: Vec<u32> },
}

/// Envelopes that a spill had to give up, by source.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Because a budget was reached.
    pub(crate) full: Vec<Loss>,
    /// Because what is on disk cannot be read.
    pub(crate) unreadable: Vec<Loss>,
}

impl Losses {
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.full.is_empty() && self.unreadable.is_empty()
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.full.extend(other.full);
        self.unreadable.extend(other.unreadable);
    }
}

/// How an append went.
#[derive(Debug)]
pub(crate) struct Appended {
    /// Where each entry that was written ends, in order.
    pub(crate) ends: Vec<Place>,
    pub(crate) losses: Losses,
    /// Why the rest could not be written, and the rest.
    pub(crate) failed: Option<(io::Error, Vec<Entry>)>,
}

/// The bounds of one spill.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Most bytes on disk.
    pub(crate) bytes: u64,
    /// A segment is closed at this size.
    pub(crate) segment: u64,
}

impl Limits {
    /// A budget in about sixteen segments, so that giving up the oldest costs a sixteenth of it.
    pub(crate) fn of(bytes: u64) -> Self {
        Self {
            bytes,
            segment: (bytes / 16).clamp(64 << 10, 8 << 20),
        }
    }
}

/// The backlog of one binding.
#[derive(Debug)]
pub(crate) struct Spill {
    folder: PathBuf,
    limits: Limits,
    share: Share,
    /// Whose envelopes these are, if all are of one source.
    source: Option<String>,
    /// Oldest first; the last one is written to.
    segments: VecDeque<Segment>,
    /// What is read next.
    reader: Place,
    /// Before this everything is settled.
    cursor: Place,
    /// The cursor as it is on file.
    saved: Place,
    /// Arrival of what was read last.
    read_arrived: i64,
    /// Segments whose files can go.
    garbage: Vec<PathBuf>,
    /// Envelopes that were ever appended.
    appended: u64,
    /// Of those before the cursor: settled, given up, or counted as lost.
    settled: u64,
    /// Envelopes that were not there any more when it was opened.
    missing: u64,
}

impl Spill {
    /// Opens the backlog in `folder`, or makes an empty one; cuts off what a killed writer left unfinished.
    pub(crate) fn open(
        folder: &Path,
        limits: Limits,
        budget: &std::sync::Arc<Budget>,
        source: Option<&str>,
    ) -> io::Result<Self> {
        segment::private_folder(folder)?;
        let numbers = segment::numbers(folder)?;
        let saved = cursor::read(folder);
        let cursor = saved.map(|(cursor, _)| cursor);
        let mut segments: VecDeque<Segment> = VecDeque::new();
        let last = numbers.last().copied();
        // What lies before the first segment was settled, as far as anything tells.
        let mut total = match saved {
            Some((_, settled)) => settled,
            None => (!cursor::exists(folder)).then_some(0),
        };
        let mut missing = 0;
        for number in numbers {
            if cursor.is_some_and(|cursor| number < cursor.segment) {
                // Settled, and killed before it was removed.
                segment::remove(folder, number)?;
                continue;
            }
            match Segment::scan(folder, number, Some(number) == last, total.unwrap_or_default())? {
                Some(found) => {
                    // The first one may begin before the cursor.
                    missing += total.map_or(0, |total| found.before.saturating_sub(total));
                    total = Some(found.total().max(total.unwrap_or_default()));
                    segments.push_back(found);
                }
                None => segment::remove(folder, number)?,
            }
        }
        if missing > 0 {
            tracing::error!(envelopes = missing, folder = %folder.display(), "segments of a spill are gone");
        }
        let mut share = budget.share();
        share.take(segments.iter().map(Segment::disk).sum());
        let start = segments.front().map_or_else(Place::default, Segment::start);
        // A cursor that points nowhere repeats; one behind the end of its segment means that all of it is settled.
        let cursor = cursor.filter(|cursor| *cursor > start).unwrap_or(start);
        let mut spill = Self {
            folder: folder.to_owned(),
            limits,
            share,
            source: source.map(str::to_owned),
            segments,
            reader: cursor,
            cursor,
            saved: cursor,
            read_arrived: 0,
            garbage: Vec::new(),
            appended: total.unwrap_or_default(),
            settled: 0,
            missing,
        };
        spill.count_settled()?;
        spill.settled = spill.appended - spill.unsettled().min(spill.appended);
        if missing > 0
            // They are counted now, and not once more the next time.
            && let Err(error) = spill.save()
        {
            tracing::debug!(%error, "a spill's cursor cannot be written");
        }
        Ok(spill)
    }

    /// After opening: how much of the first segment lies before the cursor.
    fn count_settled(&mut self) -> io::Result<()> {
        let Some(first) = self.segments.front_mut() else {
            return Ok(());
        };
        if first.number() != self.cursor.segment {
            self.cursor = first.start();
            self.reader = self.cursor;
            return Ok(());
        }
        let (settled, place) = first.envelopes_before(&self.folder, self.cursor)?;
        first.settled = settled;
        first.read = settled;
        self.cursor = place;
        self.reader = place;
        Ok(())
    }

    /// What shows when another spill wants this one to give up space.
    pub(crate) fn owed(&self) -> std::sync::Arc<Owed> {
        self.share.owed()
    }

    /// Envelopes that are not settled.
    pub(crate) fn unsettled(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.envelopes - segment.settled)
            .sum()
    }

    /// Envelopes that were not there any more when this was opened: their segments are gone. Says so once.
    pub(crate) fn take_missing(&mut self) -> Vec<Loss> {
        let missing = std::mem::take(&mut self.missing);
        sources::all_of(self.source.as_deref().unwrap_or_default(), missing)
    }

    /// Envelopes that were not read since the start or the last [`Spill::rewind`].
    pub(crate) fn unread(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.envelopes - segment.read)
            .sum()
    }

    /// Bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.share.used()
    }

    /// About when the oldest envelope that was not read came in.
    pub(crate) fn oldest(&self) -> Option<i64> {
        let segment = self.segments.iter().find(|segment| segment.read < segment.envelopes)?;
        Some(segment.first_arrived.max(self.read_arrived))
    }

    /// The first segment that is still there: what lies in an earlier one was given up.
    pub(crate) fn first_segment(&self) -> u64 {
        self.segments.front().map_or(u64::MAX, Segment::number)
    }

    /// Appends entries in order, giving up the oldest segments where a budget says so.
    pub(crate) fn append(&mut self, entries: Vec<Entry>) -> Appended {
        let mut ends = Vec::with_capacity(entries.len());
        let mut losses = Losses::default();
        let mut entries = entries.into_iter();
        let mut buffer = Vec::new();
        while let Some(entry) = entries.next() {
            buffer.clear();
            record::encode(&entry, &mut buffer);
            match self.write(&buffer, &entry, &mut losses) {
                Ok(end) => ends.push(end),
                Err(error) => {
                    let rest = std::iter::once(entry).chain(entries).collect();
                    return Appended {
                        ends,
                        losses,
                        failed: Some((error, rest)),
                    };
                }
            }
        }
        Appended {
            ends,
            losses,
            failed: None,
        }
    }

    fn write(&mut self, record: &[u8], entry: &Entry, losses: &mut Losses) -> io::Result<Place> {
        let size = (record.len() + index::SIZE) as u64;
        while self.share.used() + size > self.limits.bytes && !self.segments.is_empty() {
            losses.merge(self.give_up_oldest());
        }
        while self.share.verdict(size) == Verdict::GiveUp && !self.segments.is_empty() {
            losses.merge(self.give_up_oldest());
        }
        let full = self
            .segments
            .back()
            .is_none_or(|segment| segment.is_closed() || segment.len() + size > self.limits.segment);
        if full {
            self.begin_segment()?;
        }
        let segment = self.segments.back_mut().expect("one was just begun");
        segment.append(record, entry, self.appended)?;
        self.appended += u64::from(entry.envelopes);
        self.share.take(size);
        Ok(segment.end())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        // Numbers never come again, not even those of segments that are gone: places are compared by them.
        let number = self.segments.back().map_or(0, Segment::number).max(self.cursor.segment) + 1;
        let segment = Segment::create(&self.folder, number, self.appended)?;
        self.share.take(segment.disk());
        if let Some(previous) = self.segments.back_mut() {
            previous.close();
        } else {
            self.cursor = segment.start();
            self.reader = self.cursor;
            // From now on it can be written without more space.
            if let Err(error) = self.save() {
                tracing::debug!(%error, "a spill's cursor cannot be written");
            }
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// Gives up at least `bytes`, the oldest first: another spill needs the space more.
    pub(crate) fn give_up(&mut self, bytes: u64) -> Losses {
        let mut losses = Losses::default();
        let wanted = self.share.used().saturating_sub(bytes);
        while self.share.used() > wanted && !self.segments.is_empty() {
            losses.merge(self.give_up_oldest());
        }
        losses
    }

    /// Gives up the oldest segment: what was not read of it is lost. What was read is in the hands of the drain.
    fn give_up_oldest(&mut self) -> Losses {
        let Some(segment) = self.segments.pop_front() else {
            return Losses::default();
        };
        let unread = segment.envelopes - segment.read;
        self.settled += segment.envelopes - segment.settled;
        let lost = match &self.source {
            Some(source) => sources::all_of(source, unread),
            None => sources::of_segment(&self.folder, &segment, self.reader, unread),
        };
        let next = self.segments.front().map_or(
            Place {
                segment: segment.number() + 1,
                ..Place::default()
            },
            Segment::start,
        );
        self.reader = self.reader.max(next);
        self.cursor = self.cursor.max(next);
        // First of all it is on file that they are counted: a segment that is missing is counted when this is opened again.
        if let Err(error) = self.save() {
            tracing::debug!(%error, "a spill's cursor cannot be written");
        }
        self.remove(&segment);
        Losses {
            full: lost,
            unreadable: Vec::new(),
        }
    }

    fn remove(&mut self, segment: &Segment) {
        self.share.give_back(segment.disk());
        // What cannot be removed now is tried again with the next tidying.
        for path in segment::paths(&self.folder, segment.number()) {
            if fs::remove_file(&path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                self.garbage.push(path);
            }
        }
    }

    /// Reads on, at least one record if there is one, then as many as fit `max_bytes`.
    pub(crate) fn read(&mut self, max_bytes: usize) -> io::Result<(Vec<Stored>, Losses)> {
        let mut records = Vec::new();
        let mut losses = Losses::default();
        let mut bytes = 0;
        while bytes < max_bytes {
            let Some(position) = self
                .segments
                .iter()
                .position(|segment| segment.read < segment.envelopes)
            else {
                break;
            };
            let segment = &mut self.segments[position];
            if self.reader < segment.start() {
                self.reader = segment.start();
            }
            match segment.read(&self.folder, self.reader)? {
                segment::Found::Record(stored, size) => {
                    segment.read = (segment.read + u64::from(stored.envelopes)).min(segment.envelopes);
                    self.read_arrived = stored.arrived;
                    self.reader = stored.end;
                    bytes += size;
                    if stored.envelopes > 0 {
                        records.push(stored);
                    }
                }
                segment::Found::Damaged { envelopes, end } => {
                    let lost = envelopes.min(segment.envelopes - segment.read);
                    // From now on it was never there.
                    segment.envelopes -= lost;
                    self.settled += lost;
                    losses
                        .unreadable
                        .extend(sources::all_of(self.source.as_deref().unwrap_or_default(), lost));
                    self.reader = end;
                }
            }
        }
        Ok((records, losses))
    }

    /// Forgets what was read and not settled: it is read again.
    pub(crate) fn rewind(&mut self) {
        self.reader = self.cursor;
        self.read_arrived = 0;
        for segment in &mut self.segments {
            segment.read = segment.settled;
        }
    }

    /// Says that `envelopes` up to `end` were handed to the drain already: they are not read.
    pub(crate) fn skip(&mut self, end: Place, envelopes: u32) {
        if let Some(segment) = self.segment_mut(end.segment) {
            segment.read = (segment.read + u64::from(envelopes)).min(segment.envelopes);
            self.reader = self.reader.max(end);
        }
    }

    /// Says that the next `envelopes`, up to `end`, need not be delivered any more; in order, and never across two
    /// segments. What lies in a segment that was given up is ignored.
    pub(crate) fn settle(&mut self, end: Place, envelopes: u32) {
        if let Some(segment) = self.segment_mut(end.segment) {
            let before = segment.settled;
            segment.settled = (segment.settled + u64::from(envelopes)).min(segment.envelopes);
            segment.read = segment.read.max(segment.settled);
            let settled = segment.settled - before;
            self.settled += settled;
            self.cursor = self.cursor.max(end);
            self.reader = self.reader.max(self.cursor);
        }
    }

    fn segment_mut(&mut self, number: u64) -> Option<&mut Segment> {
        self.segments.iter_mut().find(|segment| segment.number() == number)
    }

    /// Whether there is something to tidy up.
    pub(crate) fn is_untidy(&self) -> bool {
        self.saved != self.cursor || !self.garbage.is_empty()
    }

    /// Writes the cursor and removes the segments that are settled. What fails is tried again the next time.
    pub(crate) fn tidy(&mut self) -> io::Result<()> {
        let mut settled = Vec::new();
        while self.segments.len() > 1
            && let Some(first) = self.segments.front()
            && first.settled >= first.envelopes
        {
            settled.extend(self.segments.pop_front());
            let next = self.segments.front().map_or_else(Place::default, Segment::start);
            self.cursor = self.cursor.max(next);
            self.reader = self.reader.max(next);
        }
        // Before they go: a segment that is missing is counted when this is opened again. On a full disk they go all the same.
        let saved = if self.saved == self.cursor { Ok(()) } else { self.save() };
        settled.iter().for_each(|segment| self.remove(segment));
        self.garbage
            .retain(|path| fs::remove_file(path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound));
        saved
    }

    fn save(&mut self) -> io::Result<()> {
        cursor::write(&self.folder, self.cursor, self.settled)?;
        self.saved = self.cursor;
        Ok(())
    }

    /// Moves the backlog to another folder: its binding got another id.
    pub(crate) fn rename(&mut self, folder: &Path) -> io::Result<()> {
        fs::rename(&self.folder, folder)?;
        folder.clone_into(&mut self.folder);
        Ok(())
    }

    /// Removes all of it; returns what was in it and not settled.
    pub(crate) fn destroy(mut self) -> (Vec<Loss>, io::Result<()>) {
        self.rewind();
        let mut lost = Vec::new();
        while !self.segments.is_empty() {
            lost.extend(self.give_up_oldest().full);
        }
        let folder = std::mem::take(&mut self.folder);
        (lost, fs::remove_dir_all(folder))
    }
}

/// Reads the folder of a binding that nobody knows any more; returns what was in it and not settled.
pub(crate) fn destroy_unknown(folder: &Path) -> (Vec<Loss>, io::Result<()>) {
    let budget = Budget::new(u64::MAX);
    match Spill::open(folder, Limits::of(u64::MAX), &budget, None) {
        Ok(mut spill) => {
            let mut lost = spill.take_missing();
            let (rest, removed) = spill.destroy();
            lost.extend(rest);
            (lost, removed)
        }
        Err(error) => (Vec::new(), fs::remove_dir_all(folder).and(Err(error))),
    }
}
