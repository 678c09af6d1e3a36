//! One record: its header, checksum and payload.

use bytes::Bytes;

use super::{Content, Entry};

/// The size in bytes of the header.
pub(super) const HEADER: usize = 24;

/// The largest payload in bytes. The largest message that the agent receives has 10 MiB, and a shipment is far smaller.
const MAX_PAYLOAD: u32 = 64 << 20;

/// The kind of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Envelopes = 1,
    Shipment = 2,
}

/// The contents of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: u32,
    pub(super) crc: u32,
    pub(super) arrived: i64,
    pub(super) envelopes: u32,
    kind: u8,
}

impl Header {
    /// Decodes a header. Returns `None` if the bytes cannot be one.
    pub(super) fn read(bytes: &[u8; HEADER]) -> Option<Self> {
        let u32_at = |at: usize| bytes[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        let header = Self {
            length: u32_at(0)?,
            crc: u32_at(4)?,
            arrived: bytes[8..16].try_into().map(i64::from_le_bytes).ok()?,
            envelopes: u32_at(16)?,
            kind: bytes[20],
        };
        (header.length <= MAX_PAYLOAD && header.kind().is_some() && bytes[21..] == [0; 3]).then_some(header)
    }

    pub(super) const fn kind(&self) -> Option<Kind> {
        match self.kind {
            1 => Some(Kind::Envelopes),
            2 => Some(Kind::Shipment),
            _ => None,
        }
    }

    /// Returns the size in bytes of the whole record.
    pub(super) const fn size(&self) -> u64 {
        HEADER as u64 + self.length as u64
    }

    /// Returns whether the checksum matches the header and the payload.
    pub(super) fn fits(&self, header: &[u8; HEADER], payload: &[u8]) -> bool {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&header[8..]);
        crc.update(payload);
        crc.finalize() == self.crc
    }
}

/// Appends the encoded record of `entry` to `out`.
pub(super) fn encode(entry: &Entry, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&entry.arrived.to_le_bytes());
    out.extend_from_slice(&entry.envelopes.to_le_bytes());
    let kind = match entry.content {
        Content::Envelopes(_) => Kind::Envelopes,
        Content::Shipment { .. } => Kind::Shipment,
    };
    out.extend_from_slice(&[kind as u8, 0, 0, 0]);
    match &entry.content {
        Content::Envelopes(batches) => batches.iter().for_each(|batch| out.extend_from_slice(batch.bytes())),
        Content::Shipment { bytes, ends } => {
            out.extend_from_slice(&count(ends.len()).to_le_bytes());
            ends.iter().for_each(|end| out.extend_from_slice(&end.to_le_bytes()));
            out.extend_from_slice(bytes);
        }
    }
    let length = count(out.len() - start - HEADER);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.finalize().to_le_bytes());
}

fn count(len: usize) -> u32 {
    u32::try_from(len).expect("messages are limited to far less than 4 GiB by every server")
}

/// Splits the payload of a shipment into its messages and their ends. Returns `None` if it is invalid.
pub(super) fn shipment(payload: &Bytes) -> Option<(Bytes, Vec<u32>)> {
    let (count, rest) = payload.split_first_chunk::<4>()?;
    let ends_len = usize::try_from(u32::from_le_bytes(*count)).ok()?.checked_mul(4)?;
    let ends: Vec<u32> = rest
        .get(..ends_len)?
        .chunks_exact(4)
        .map_while(|end| end.try_into().map(u32::from_le_bytes).ok())
        .collect();
    let bytes = payload.slice(4 + ends_len..);
    let whole = ends.last().map_or(0, |end| *end as usize) == bytes.len() && ends.is_sorted();
    whole.then_some((bytes, ends))
}
