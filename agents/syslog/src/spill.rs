//! The backlog of one binding on disk: envelopes that a slow or absent drain could not take yet.
//!
//! A spill is a directory of segments and a cursor. Segments are appended to at the end and read from the front. The
//! cursor says up to where everything is settled:
//!
//! ```text
//! spill/<binding id>/
//!   0000000000000001.seg   "WEIRSPL1" | record | record | …            (oldest: read here)
//!   0000000000000001.idx   where each record is and what it holds ([`index`])
//!   0000000000000002.seg   "WEIRSPL1" | record | …                     (newest: written here)
//!   0000000000000002.idx
//!   cursor                 segment u64, offset u64, skip u32, settled u64, crc32 u32
//!
//! record  length u32 | crc32 u32 | arrived i64 (ns) | envelopes u32 | kind u8, 0 0 0 | payload (length bytes)
//!         crc32 covers everything after itself; kind 1: the fields of an EnvelopeBatch,
//!         kind 2: a shipment: count u32, the end of each message u32, the messages as they were to be sent
//! ```
//!
//! All numbers are little endian. A record exists as soon as its `write(2)` has returned, so it survives a kill of the
//! process. Nothing is synced, so a power failure may cost the last seconds. An incomplete record at the end is cut off
//! when the spill is opened. A damaged record is counted as lost: the index knows where it ends and how many envelopes
//! it held. A missing segment is counted with its index. If the index is missing too, it is counted with the segments
//! before and after it, because these say how many envelopes were appended before them. The cursor is written at
//! intervals, so a killed agent sends a little again. In the cursor, `skip` is the number of settled envelopes in the
//! record at `offset`, and `settled` is the number of envelopes that were ever settled.
//!
//! A spill is bounded by a budget per binding and one for the agent ([`Budget`]). Beyond them the oldest segment is
//! discarded and counted. Everything here blocks, so the drain's task calls it on a blocking thread.

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

/// A position in a spill. Later positions are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    /// The number of envelopes of the record at `offset` that come before this position.
    pub(crate) skip: u32,
}

/// Something to be appended as one record.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) content: Content,
    pub(crate) envelopes: u32,
    /// When the oldest envelope arrived, in nanoseconds since the epoch.
    pub(crate) arrived: i64,
}

/// The payload of a record.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// Envelopes as they were received, one batch after the other.
    Envelopes(Vec<Batch>),
    /// Formatted messages and the end of each.
    Shipment { bytes: Bytes, ends: Vec<u32> },
}

/// A record that was read.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) content: StoredContent,
    /// The number of envelopes that are still to be delivered, without those that were settled before.
    pub(crate) envelopes: u32,
    pub(crate) arrived: i64,
    /// The position of the record, with the number of its envelopes that were settled before as `skip`.
    pub(crate) place: Place,
    /// The position at which the next record begins.
    pub(crate) end: Place,
}

/// The payload of a record that was read.
#[derive(Debug)]
pub(crate) enum StoredContent {
    /// Envelopes, without those that were settled before.
    Envelopes(Batch),
    /// Formatted messages and the end of each.
    Shipment { bytes: Bytes, ends: Vec<u32> },
}

/// Envelopes that a spill lost, by source.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Those that were discarded because a budget was used up.
    pub(crate) full: Vec<Loss>,
    /// Those that cannot be read from disk.
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

/// The result of an append.
#[derive(Debug)]
pub(crate) struct Appended {
    /// The end of each entry that was written, in order.
    pub(crate) ends: Vec<Place>,
    pub(crate) losses: Losses,
    /// The error and the entries that were not written, if any.
    pub(crate) failed: Option<(io::Error, Vec<Entry>)>,
}

/// The bounds of one spill.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The largest number of bytes on disk.
    pub(crate) bytes: u64,
    /// The size in bytes from which a segment is closed.
    pub(crate) segment: u64,
}

impl Limits {
    /// Divides a budget into about sixteen segments, so that discarding the oldest one costs a sixteenth.
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
    /// The source of all envelopes, if there is only one.
    source: Option<String>,
    /// The segments, oldest first. The last one is written to.
    segments: VecDeque<Segment>,
    /// The position of the next read.
    reader: Place,
    /// The position before which everything is settled.
    cursor: Place,
    /// The cursor as it is in its file.
    saved: Place,
    /// When the record that was read last arrived.
    read_arrived: i64,
    /// Files of discarded segments that could not be removed yet.
    garbage: Vec<PathBuf>,
    /// The number of envelopes that were ever appended.
    appended: u64,
    /// The number of envelopes before the cursor: delivered, discarded, or counted as lost.
    settled: u64,
    /// The number of envelopes that were missing when the spill was opened.
    missing: u64,
}

impl Spill {
    /// Opens the backlog in `folder`, or creates an empty one. An incomplete record of a killed writer is cut off.
    pub(crate) fn open(
        folder: &Path,
        limits: Limits,
        budget: &std::sync::Arc<Budget>,
        source: Option<&str>,
    ) -> io::Result<Self> {
        // It holds what apps say.
        weir_files::private_directory(folder)?;
        let numbers = segment::numbers(folder)?;
        let saved = cursor::read(folder);
        let cursor = saved.map(|(cursor, _)| cursor);
        let mut segments: VecDeque<Segment> = VecDeque::new();
        let last = numbers.last().copied();
        // Nothing tells more about the segments before the first one than the cursor.
        let mut total = match saved {
            Some((_, settled)) => settled,
            None => (!cursor::exists(folder)).then_some(0),
        };
        let mut missing = 0;
        for number in numbers {
            if cursor.is_some_and(|cursor| number < cursor.segment) {
                // The segment was settled, and the agent was killed before it removed the file.
                segment::remove(folder, number)?;
                continue;
            }
            match Segment::scan(folder, number, Some(number) == last, total.unwrap_or_default())? {
                Some(found) => {
                    // The first segment may begin before the cursor.
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
        // A cursor before the first segment repeats envelopes. One after the end of its segment means that the segment
        // is settled.
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
            // They are counted now. A saved cursor prevents that they are counted again at the next start.
            && let Err(error) = spill.save()
        {
            tracing::debug!(%error, "a spill's cursor cannot be written");
        }
        Ok(spill)
    }

    /// Sets the counts of the first segment to what is before the cursor. Called when the spill is opened.
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

    /// Returns the handle through which other spills ask this one for space.
    pub(crate) fn owed(&self) -> std::sync::Arc<Owed> {
        self.share.owed()
    }

    /// Returns the number of envelopes that are not settled.
    pub(crate) fn unsettled(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.envelopes - segment.settled)
            .sum()
    }

    /// Returns, once, the envelopes whose segments were missing when the spill was opened.
    pub(crate) fn take_missing(&mut self) -> Vec<Loss> {
        let missing = std::mem::take(&mut self.missing);
        sources::all_of(self.source.as_deref().unwrap_or_default(), missing)
    }

    /// Returns the number of envelopes that were not read since the spill was opened or last [rewound](Spill::rewind).
    pub(crate) fn unread(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.envelopes - segment.read)
            .sum()
    }

    /// Returns the number of bytes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.share.used()
    }

    /// Returns approximately when the oldest unread envelope arrived.
    pub(crate) fn oldest(&self) -> Option<i64> {
        let segment = self.segments.iter().find(|segment| segment.read < segment.envelopes)?;
        Some(segment.first_arrived.max(self.read_arrived))
    }

    /// Returns the number of the first segment that exists. Everything in earlier ones was discarded or delivered.
    pub(crate) fn first_segment(&self) -> u64 {
        self.segments.front().map_or(u64::MAX, Segment::number)
    }

    /// Appends entries in order. Discards the oldest segments if a budget requires it.
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
        // The spill's own budget first: it can be satisfied without looking at other spills.
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
        // Numbers are never reused, not even those of removed segments, because positions are compared by them.
        let number = self.segments.back().map_or(0, Segment::number).max(self.cursor.segment) + 1;
        let segment = Segment::create(&self.folder, number, self.appended)?;
        self.share.take(segment.disk());
        if let Some(previous) = self.segments.back_mut() {
            previous.close();
        } else {
            self.cursor = segment.start();
            self.reader = self.cursor;
            // Once the file exists, it can be overwritten even on a full disk.
            if let Err(error) = self.save() {
                tracing::debug!(%error, "a spill's cursor cannot be written");
            }
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// Discards at least `bytes` bytes, oldest first, because another spill needs the space.
    pub(crate) fn give_up(&mut self, bytes: u64) -> Losses {
        let mut losses = Losses::default();
        let wanted = self.share.used().saturating_sub(bytes);
        while self.share.used() > wanted && !self.segments.is_empty() {
            losses.merge(self.give_up_oldest());
        }
        losses
    }

    /// Discards the oldest segment and returns its unread envelopes as lost. What was read is still with the drain.
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
        // The cursor is saved before the segment is removed: a segment that is missing when the spill is opened is
        // counted as lost.
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
        // A file that cannot be removed now is tried again by the next `tidy`.
        for path in segment::paths(&self.folder, segment.number()) {
            if fs::remove_file(&path).is_err_and(|error| error.kind() != io::ErrorKind::NotFound) {
                self.garbage.push(path);
            }
        }
    }

    /// Reads at least one record, if there is one, and then as many as fit `max_bytes`.
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
                    // From now on these envelopes do not exist, so they are not counted again when the segment is
                    // discarded.
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

    /// Reads everything again that was read and is not settled.
    pub(crate) fn rewind(&mut self) {
        self.reader = self.cursor;
        self.read_arrived = 0;
        for segment in &mut self.segments {
            segment.read = segment.settled;
        }
    }

    /// Marks `envelopes` up to `end` as read, because they were handed to the drain already.
    pub(crate) fn skip(&mut self, end: Place, envelopes: u32) {
        if let Some(segment) = self.segment_mut(end.segment) {
            segment.read = (segment.read + u64::from(envelopes)).min(segment.envelopes);
            self.reader = self.reader.max(end);
        }
    }

    /// Settles the next `envelopes`, up to `end`: they need not be delivered any more. Calls must come in order, and
    /// one call must not cover two segments. Positions in discarded segments are ignored.
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

    /// Returns whether [`Spill::tidy`] has something to do.
    pub(crate) fn is_untidy(&self) -> bool {
        self.saved != self.cursor || !self.garbage.is_empty()
    }

    /// Writes the cursor and removes settled segments. What fails is tried again the next time.
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
        // The cursor is saved before segments are removed, because missing segments are counted as lost. On a full disk
        // they are removed in any case, since that frees space.
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

    /// Moves the backlog to another directory, because its binding has changed its id.
    pub(crate) fn rename(&mut self, folder: &Path) -> io::Result<()> {
        fs::rename(&self.folder, folder)?;
        folder.clone_into(&mut self.folder);
        Ok(())
    }

    /// Removes the whole backlog. Returns what was not settled.
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

/// Removes the backlog of an unknown binding. Returns what was not settled.
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
