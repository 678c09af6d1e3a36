//! What was sent and what arrived, by source.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use weir_envelope::batch::Batch;
use weir_envelope::view::Message;

use crate::Series;
use crate::series::number_of;

/// How many envelopes were sent, by source.
pub type Sent = BTreeMap<String, u64>;

/// The numbers that arrived of each source, in order of arrival.
pub type Numbers = BTreeMap<String, Vec<u64>>;

/// The sum of some series as [`Sent`].
#[must_use]
pub fn sent_of<'a>(series: impl IntoIterator<Item = &'a Series>) -> Sent {
    series
        .into_iter()
        .map(|series| (series.source_id().to_owned(), series.made()))
        .collect()
}

/// What one consumer got so far; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Received {
    numbers: Arc<Mutex<Numbers>>,
    /// Lines without a number: what the stack says about a source in the source's own stream.
    reports: Arc<Mutex<Sent>>,
    /// The payloads of one source, where they are to be kept.
    kept: Option<Kept>,
}

/// The payloads of one source.
#[derive(Debug, Clone)]
struct Kept {
    source_id: Arc<str>,
    lines: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Received {
    /// Keeps also the whole payloads of `source_id`.
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

    /// The payloads that were kept, in order of arrival.
    #[must_use]
    pub fn lines(&self) -> Vec<Vec<u8>> {
        self.kept.as_ref().map_or_else(Vec::new, |kept| {
            kept.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
        })
    }

    /// Notes the lines of a batch.
    pub fn note(&self, batch: &Batch) {
        for envelope in batch.iter() {
            if let Message::Log { payload, .. } = envelope.view().message() {
                self.note_line(envelope.source_id(), payload);
            }
        }
    }

    /// Notes one line.
    pub fn note_line(&self, source_id: &str, payload: &[u8]) {
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

    /// How many arrived, over all sources.
    #[must_use]
    pub fn total(&self) -> u64 {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.values().map(|list| list.len() as u64).sum()
    }

    /// How many arrived of one source.
    #[must_use]
    pub fn of(&self, source_id: &str) -> u64 {
        let numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.get(source_id).map_or(0, |list| list.len() as u64)
    }

    /// How many lines without a number arrived, by source: the stack's reports of losses.
    #[must_use]
    pub fn reports(&self) -> Sent {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A copy of all numbers.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
