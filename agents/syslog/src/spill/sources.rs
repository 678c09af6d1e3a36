//! Finds the sources of lost envelopes, so that a loss is counted under a source id wherever possible.

use std::path::Path;

use ahash::AHashMap;
use weir_flow::Loss;

use super::segment::Segment;
use super::{Place, StoredContent};

/// Returns a loss of `count` envelopes of one source.
pub(super) fn all_of(source_id: &str, count: u64) -> Vec<Loss> {
    if count == 0 {
        return Vec::new();
    }
    vec![Loss {
        source_id: source_id.to_owned(),
        count,
    }]
}

/// Returns the losses among the last `unread` envelopes of a segment, which begin at `reader`. Envelopes that cannot be
/// read are counted under an empty source id.
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

/// Returns the losses among formatted messages. Their source id is the APP-NAME (RFC 5424 §6.2.5). The sum is
/// `envelopes`; if an envelope gave several messages, it may be counted for the source next to it.
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

/// Returns the fourth word after the priority: `[length ]<14>1 TIMESTAMP HOSTNAME APP-NAME …`.
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
