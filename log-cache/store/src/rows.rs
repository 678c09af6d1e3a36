//! Rows of one kind, in columns.
//!
//! | Column | Bytes per row | Contents |
//! |---|---|---|
//! | timestamps | 8 | nanoseconds since the Unix epoch, unique within a source |
//! | seqs | 8 | the sequence number within the source |
//! | identities | 4 | the number of the [`Identity`]; the highest bit marks a log of stream `ERR` |
//! | shapes | 4 | the number of the [`Shape`]; the column is empty for logs, events and envelopes without payload |
//! | offsets | 4 | the end of the row's payload |
//! | payload | its length | the bytes of a log; the encoded fields of an event; eight bytes for each number of a metric |
//!
//! The columns are Arrow buffers. Readers share them, and offsets and payload of logs are an Arrow array without a
//! copy.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BinaryArray, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use weir_envelope::batch::Kind;
use weir_envelope::view::Stream;

use crate::identity::Identity;
use crate::shape::Shape;

/// The bit of an identity's number that marks a log of stream `ERR`.
pub(crate) const ERR: u32 = 1 << 31;

/// Columns to which rows are appended.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    timestamps: Vec<i64>,
    seqs: Vec<u64>,
    identities: Vec<u32>,
    shapes: Vec<u32>,
    offsets: Vec<i32>,
    payload: Vec<u8>,
}

/// Borrowed columns from which rows are copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ColumnsRef<'a> {
    pub(crate) timestamps: &'a [i64],
    pub(crate) seqs: &'a [u64],
    pub(crate) identities: &'a [u32],
    pub(crate) shapes: &'a [u32],
    pub(crate) offsets: &'a [i32],
    pub(crate) payload: &'a [u8],
}

/// One row that is to be appended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) timestamp: i64,
    pub(crate) seq: u64,
    /// The number of the identity, with [`ERR`] for a log of that stream.
    pub(crate) identity: u32,
    pub(crate) shape: Option<u32>,
    pub(crate) payload: &'a [u8],
}

impl Columns {
    /// Returns columns with room for exactly `rows` rows of `kind` that have `payload` bytes together.
    pub(crate) fn with_capacity(kind: Kind, rows: usize, payload: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        Self {
            timestamps: Vec::with_capacity(rows),
            seqs: Vec::with_capacity(rows),
            identities: Vec::with_capacity(rows),
            shapes: Vec::with_capacity(if has_shapes(kind) { rows } else { 0 }),
            offsets,
            payload: Vec::with_capacity(payload),
        }
    }

    /// Reserves room for `rows` rows in all, with `payload` bytes together.
    pub(crate) fn reserve(&mut self, kind: Kind, rows: usize, payload: usize) {
        self.timestamps
            .reserve_exact(rows.saturating_sub(self.timestamps.len()));
        self.seqs.reserve_exact(rows.saturating_sub(self.seqs.len()));
        self.identities
            .reserve_exact(rows.saturating_sub(self.identities.len()));
        if has_shapes(kind) {
            self.shapes.reserve_exact(rows.saturating_sub(self.shapes.len()));
        }
        self.offsets
            .reserve_exact((rows + 1).saturating_sub(self.offsets.len()));
        self.payload.reserve_exact(payload.saturating_sub(self.payload.len()));
    }

    pub(crate) const fn len(&self) -> usize {
        self.timestamps.len()
    }

    pub(crate) fn payload_len(&self) -> usize {
        self.payload.len()
    }

    /// The memory of the columns in bytes, by their capacity.
    pub(crate) fn bytes(&self) -> usize {
        self.timestamps.capacity() * 8
            + self.seqs.capacity() * 8
            + self.identities.capacity() * 4
            + self.shapes.capacity() * 4
            + self.offsets.capacity() * 4
            + self.payload.capacity()
    }

    /// Removes all rows, and keeps room for at most `payload` bytes of payload.
    pub(crate) fn clear(&mut self, payload: usize) {
        self.timestamps.clear();
        self.seqs.clear();
        self.identities.clear();
        self.shapes.clear();
        // The first offset stays: it is the start of the first row.
        self.offsets.truncate(1);
        self.payload.clear();
        self.payload.shrink_to(payload);
    }

    /// Appends a row.
    ///
    /// # Panics
    /// If the payload exceeds 2 GiB, which the callers prevent by sealing much earlier.
    #[inline]
    pub(crate) fn push(&mut self, row: Row<'_>) {
        self.timestamps.push(row.timestamp);
        self.seqs.push(row.seq);
        self.identities.push(row.identity);
        if let Some(shape) = row.shape {
            self.shapes.push(shape);
        }
        self.payload.extend_from_slice(row.payload);
        self.offsets.push(offset(self.payload.len()));
    }

    /// Appends rows of other columns. `identities` and `shapes` give the new number for each old one.
    pub(crate) fn copy(&mut self, from: ColumnsRef<'_>, rows: Range<usize>, identities: &[u32], shapes: &[u32]) {
        self.timestamps.extend_from_slice(&from.timestamps[rows.clone()]);
        self.seqs.extend_from_slice(&from.seqs[rows.clone()]);
        let translated = from.identities[rows.clone()].iter();
        self.identities
            .extend(translated.map(|number| identities[(number & !ERR) as usize] | (number & ERR)));
        if !from.shapes.is_empty() {
            self.shapes
                .extend(from.shapes[rows.clone()].iter().map(|number| shapes[*number as usize]));
        }
        let start = from.offsets[rows.start];
        let end = from.offsets[rows.end];
        // Offsets count from the start of a payload. Here the copied one begins behind the rows that exist.
        let shift = offset(self.payload.len()) - start;
        self.offsets
            .extend(from.offsets[rows.start + 1..=rows.end].iter().map(|end| end + shift));
        self.payload.extend_from_slice(&from.payload[index(start)..index(end)]);
    }

    pub(crate) fn as_ref(&self) -> ColumnsRef<'_> {
        ColumnsRef {
            timestamps: &self.timestamps,
            seqs: &self.seqs,
            identities: &self.identities,
            shapes: &self.shapes,
            offsets: &self.offsets,
            payload: &self.payload,
        }
    }

    /// Turns the columns into immutable rows. `identities` and `shapes` are the values to which the numbers refer.
    pub(crate) fn finish(self, kind: Kind, identities: Vec<Arc<Identity>>, shapes: Vec<Arc<Shape>>) -> Rows {
        let offsets = OffsetBuffer::new(self.offsets.into());
        let payload = Buffer::from_vec(self.payload);
        // Checked once for the whole column. If a single log is not UTF-8, readers convert the rows that they return.
        let text = (kind == Kind::Log)
            .then(|| StringArray::try_new(offsets.clone(), payload.clone(), None).ok())
            .flatten();
        Rows {
            kind,
            timestamps: self.timestamps.into(),
            seqs: self.seqs.into(),
            identities: self.identities.into(),
            shapes: self.shapes.into(),
            offsets,
            payload,
            text,
            identity_table: identities.into(),
            shape_table: shapes.into(),
        }
    }
}

impl ColumnsRef<'_> {
    /// The payload of a range of rows, in bytes.
    pub(crate) fn payload_len(&self, rows: Range<usize>) -> usize {
        index(self.offsets[rows.end] - self.offsets[rows.start])
    }
}

/// Immutable rows of one kind. Those of a chunk are sorted; those of a tap are in the order of arrival.
#[derive(Debug)]
pub struct Rows {
    kind: Kind,
    timestamps: ScalarBuffer<i64>,
    seqs: ScalarBuffer<u64>,
    identities: ScalarBuffer<u32>,
    shapes: ScalarBuffer<u32>,
    offsets: OffsetBuffer<i32>,
    payload: Buffer,
    /// The payload as text, if the rows are logs and all of them UTF-8. It shares `offsets` and `payload`.
    text: Option<StringArray>,
    identity_table: Box<[Arc<Identity>]>,
    shape_table: Box<[Arc<Shape>]>,
}

impl Rows {
    /// The kind of the rows.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// The timestamps, in nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn timestamps(&self) -> &ScalarBuffer<i64> {
        &self.timestamps
    }

    /// The sequence number of each row within its source.
    #[must_use]
    pub const fn seqs(&self) -> &ScalarBuffer<u64> {
        &self.seqs
    }

    /// The identities to which the rows refer.
    #[must_use]
    pub fn identities(&self) -> &[Arc<Identity>] {
        &self.identity_table
    }

    /// The position of a row's identity in [`Rows::identities`].
    #[must_use]
    pub fn identity_index(&self, row: usize) -> usize {
        (self.identities[row] & !ERR) as usize
    }

    /// The identity of a row.
    #[must_use]
    pub fn identity(&self, row: usize) -> &Identity {
        &self.identity_table[self.identity_index(row)]
    }

    /// The stream of a log.
    #[must_use]
    pub fn stream(&self, row: usize) -> Stream {
        if self.identities[row] & ERR == 0 {
            Stream::Out
        } else {
            Stream::Err
        }
    }

    /// The shapes to which the rows refer.
    #[must_use]
    pub fn shapes(&self) -> &[Arc<Shape>] {
        &self.shape_table
    }

    /// The position of a row's shape in [`Rows::shapes`].
    ///
    /// # Panics
    /// If the kind has no shapes.
    #[must_use]
    pub fn shape_index(&self, row: usize) -> usize {
        self.shapes[row] as usize
    }

    /// The payload of a row, in the form of the module's table.
    #[must_use]
    pub fn payload(&self, row: usize) -> &[u8] {
        &self.payload[index(self.offsets[row])..index(self.offsets[row + 1])]
    }

    /// All payloads as text, if the rows are logs and all of them UTF-8. The array shares memory with the rows.
    #[must_use]
    pub const fn text(&self) -> Option<&StringArray> {
        self.text.as_ref()
    }

    /// All payloads as bytes. The array shares memory with the rows.
    #[must_use]
    pub fn binary(&self) -> BinaryArray {
        BinaryArray::new(self.offsets.clone(), self.payload.clone(), None)
    }

    pub(crate) fn columns(&self) -> ColumnsRef<'_> {
        ColumnsRef {
            timestamps: &self.timestamps,
            seqs: &self.seqs,
            identities: &self.identities,
            shapes: &self.shapes,
            offsets: &self.offsets,
            payload: &self.payload,
        }
    }

    /// The memory of the rows in bytes, without the identities and shapes, which other rows may share.
    pub(crate) fn bytes(&self) -> usize {
        self.timestamps.inner().capacity()
            + self.seqs.inner().capacity()
            + self.identities.inner().capacity()
            + self.shapes.inner().capacity()
            + self.offsets.inner().inner().capacity()
            + self.payload.capacity()
            + (self.identity_table.len() + self.shape_table.len()) * size_of::<usize>()
    }
}

/// The memory of a row of `kind` without its payload, in bytes.
pub(crate) const fn row_bytes(kind: Kind) -> usize {
    if has_shapes(kind) { 28 } else { 24 }
}

/// Whether rows of `kind` have a [`Shape`].
pub(crate) const fn has_shapes(kind: Kind) -> bool {
    matches!(kind, Kind::Counter | Kind::Gauge | Kind::Timer)
}

fn offset(value: usize) -> i32 {
    i32::try_from(value).expect("columns are ended long before 2 GiB")
}

fn index(offset: i32) -> usize {
    usize::try_from(offset).expect("offsets are never negative")
}
