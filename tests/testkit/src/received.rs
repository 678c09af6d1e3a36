//! Counts what was sent and what arrived, by source.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use weir_envelope::batch::Batch;
use weir_envelope::view::Message;

use crate::Series;
use crate::series::number_of;

/// The number of envelopes that were sent, by source.
pub type Sent = BTreeMap<String, u64>;

/// The numbers that arrived, by source, in the order of arrival.
pub type Numbers = BTreeMap<String, Vec<u64>>;

/// Returns how many envelopes of these series were made.
#[must_use]
pub fn sent_of<'a>(series: impl IntoIterator<Item = &'a Series>) -> Sent {
    series
        .into_iter()
        .map(|series| (series.source_id().to_owned(), series.made()))
        .collect()
}

/// The lines that one consumer got so far. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Received {
    numbers: Arc<Mutex<Numbers>>,
    /// The count of lines without a number, by source: the stack's own lines in the stream of a source.
    reports: Arc<Mutex<Sent>>,
    /// The payloads of one source, if they are kept.
    kept: Option<Kept>,
}

/// The source whose payloads are kept.
#[derive(Debug, Clone)]
struct Kept {
    source_id: Arc<str>,
    lines: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Received {
    /// Returns an empty record that also keeps the payloads of `source_id`.
    #[must_use]
    pub fn keeping_lines_of(source_id: &str) -> Self {
        Self {
            kept: Some(Kept {
                source_id: source_id.into(),
                lines: Arc::default(),
            }),
            ..Self::default()
        }
    }

    /// Returns the payloads that were kept, in the order of arrival.
    #[must_use]
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.kept.as_ref().map_or_else(Vec::new, |kept| {
            kept.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
        })
    }

    /// Records the lines of a batch.
    pub fn record(&self, batch: &Batch) {
        for envelope in batch.iter() {
            if let Message::Log { payload, .. } = envelope.view().message() {
                self.record_line(envelope.source_id(), payload);
            }
        }
    }

    /// Records one line.
    pub fn record_line(&self, source_id: &str, payload: &[u8]) {
        if let Some(kept) = &self.kept
            && *kept.source_id == *source_id
        {
            kept.lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(payload.to_vec());
        }
        let Some(number) = number_of(payload) else {
            let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
            *reports.entry(source_id.to_owned()).or_default() += 1;
            return;
        };
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        match numbers.get_mut(source_id) {
            Some(list) => list.push(number),
            None => {
                numbers.insert(source_id.to_owned(), vec![number]);
            }
        }
    }

    /// Returns how many lines arrived, over all sources.
    #[must_use]
    pub fn total(&self) -> u64 {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.values().map(|list| list.len() as u64).sum()
    }

    /// Returns how many lines of one source arrived.
    #[must_use]
    pub fn of(&self, source_id: &str) -> u64 {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.get(source_id).map_or(0, |list| list.len() as u64)
    }

    /// Returns how many lines without a number arrived, by source. These are the stack's reports of losses.
    #[must_use]
    pub fn reports(&self) -> Sent {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns a copy of all numbers.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
