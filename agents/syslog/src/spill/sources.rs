//! Whose envelopes were lost: a loss has a name wherever it can have one.

use std::path::Path;

use ahash::AHashMap;
use weir_flow::Loss;

use super::segment::Segment;
use super::{Place, StoredContent};

/// All of one source.
pub(super) fn all_of(source_id: &str, count: u64) -> Vec<Loss> {
    if count == 0 {
        return Vec::new();
    }
    vec![Loss {
        source_id: source_id.to_owned(),
        count,
    }]
}

/// Those of a segment's last `unread` envelopes, which begin at `reader`. What cannot be read has no name.
pub(super) fn of_segment(folder: &Path, segment: &Segment, reader: Place, unread: u64) -> Vec<Loss> {
    if unread == 0 {
        return Vec::new();
    }
    let mut counts: AHashMap<String, u64> = AHashMap::new();
    let mut left = unread;
    for stored in segment.contents(folder, reader).unwrap_or_default() {
        match stored.content {
            StoredContent::Envelopes(batch) => {
                for envelope in batch.iter() {
                    add(&mut counts, envelope.source_id(), 1, &mut left);
                }
            }
            StoredContent::Shipment { bytes, ends } => {
                for loss in of_messages(&bytes, &ends, u64::from(stored.envelopes)) {
                    add(&mut counts, &loss.source_id, loss.count, &mut left);
                }
            }
        }
    }
    if left > 0 {
        *counts.entry(String::new()).or_default() += left;
    }
    list(counts)
}

/// Those of messages that were formatted already: the source id is their APP-NAME. Together they are `envelopes`; an
/// envelope that gave several messages may be counted for its neighbour.
pub(crate) fn of_messages(bytes: &[u8], ends: &[u32], envelopes: u64) -> Vec<Loss> {
    let mut counts: AHashMap<String, u64> = AHashMap::new();
    let mut left = envelopes;
    let mut start = 0;
    for end in ends {
        let message = bytes.get(start..*end as usize).unwrap_or_default();
        start = *end as usize;
        add(&mut counts, &app_name(message).unwrap_or_default(), 1, &mut left);
    }
    if left > 0 {
        *counts.entry(String::new()).or_default() += left;
    }
    list(counts)
}

/// The fourth word behind the priority: `[length ]<14>1 TIMESTAMP HOSTNAME APP-NAME …`.
fn app_name(message: &[u8]) -> Option<String> {
    let start = message.iter().position(|byte| *byte == b'<')?;
    let word = message[start..].split(|byte| *byte == b' ').nth(3)?;
    Some(String::from_utf8_lossy(word).into_owned())
}

fn add(counts: &mut AHashMap<String, u64>, source_id: &str, count: u64, left: &mut u64) {
    let count = count.min(*left);
    if count == 0 {
        return;
    }
    *left -= count;
    match counts.get_mut(source_id) {
        Some(found) => *found += count,
        None => {
            counts.insert(source_id.to_owned(), count);
        }
    }
}

fn list(counts: AHashMap<String, u64>) -> Vec<Loss> {
    counts
        .into_iter()
        .map(|(source_id, count)| Loss { source_id, count })
        .collect()
}
