//! Counts the lines that arrived by app, without keeping them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::frames::fields;
use crate::series::{number_of, time_of};

/// The number of lines without a number that are kept.
const KEPT_REPORTS: usize = 1000;

/// The number of whole messages that are kept, if they are kept at all.
const KEPT_MESSAGES: usize = 1_000_000;

/// The count of the numbered lines of one app.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// One more than the highest number that arrived.
    pub next: u64,
    /// The count of different numbers.
    pub once: u64,
    /// The count of lines that had arrived before.
    pub twice: u64,
    /// The count of lines that arrived for the first time after a later one.
    pub late: u64,
    /// The numbers below `next` that have not arrived: first and last number of each gap.
    pub gaps: BTreeMap<u64, u64>,
    /// The count of lines without a number, which are the stack's own messages to the app.
    pub reports: u64,
}

impl Tally {
    fn record(&mut self, number: u64) {
        if number >= self.next {
            if number > self.next {
                self.gaps.insert(self.next, number - 1);
            }
            self.next = number + 1;
            self.once += 1;
            return;
        }
        let gap = self
            .gaps
            .range(..=number)
            .next_back()
            .map(|(first, last)| (*first, *last));
        match gap {
            Some((first, last)) if number <= last => {
                self.gaps.remove(&first);
                if first < number {
                    self.gaps.insert(first, number - 1);
                }
                if number < last {
                    self.gaps.insert(number + 1, last);
                }
                self.late += 1;
                self.once += 1;
            }
            _ => self.twice += 1,
        }
    }

    /// Returns how many of `sent` lines have not arrived.
    #[must_use]
    pub const fn missing(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.once)
    }
}

/// Everything that a receiver got. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    apps: BTreeMap<String, Tally>,
    once: u64,
    /// The age of each line when it first arrived, in microseconds.
    ages: Vec<u32>,
    reports: Vec<(String, String)>,
    /// The whole messages, if they are kept.
    messages: Option<Vec<Vec<u8>>>,
    garbled: Vec<String>,
}

impl Lines {
    /// Returns an empty record that also keeps every whole message.
    #[must_use]
    pub fn keeping_messages() -> Self {
        let inner = Inner {
            messages: Some(Vec::new()),
            ..Inner::default()
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Records a message.
    pub fn record(&self, message: &[u8]) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        if let Some(messages) = &mut inner.messages
            && messages.len() < KEPT_MESSAGES
        {
            messages.push(message.to_vec());
        }
        let fields = match fields(message) {
            Ok(fields) => fields,
            Err(error) => return inner.garbled.push(format!("{error:#}")),
        };
        let tally = match inner.apps.get_mut(fields.app_name) {
            Some(tally) => tally,
            None => inner.apps.entry(fields.app_name.to_owned()).or_default(),
        };
        let Some(number) = number_of(fields.message) else {
            tally.reports += 1;
            if inner.reports.len() < KEPT_REPORTS {
                let text = String::from_utf8_lossy(fields.message).trim_end().to_owned();
                inner.reports.push((fields.app_name.to_owned(), text));
            }
            return;
        };
        let before = tally.once;
        tally.record(number);
        if tally.once > before {
            inner.once += 1;
            if let Some(sent) = time_of(fields.message) {
                let age = now_nanos().saturating_sub(sent) / 1000;
                inner.ages.push(u32::try_from(age).unwrap_or(u32::MAX));
            }
        }
    }

    /// Records bytes that are not a valid message.
    pub fn record_garbled(&self, text: String) {
        self.inner().garbled.push(text);
    }

    /// Returns the tally of `app`.
    #[must_use]
    pub fn of(&self, app: &str) -> Tally {
        self.inner().apps.get(app).cloned().unwrap_or_default()
    }

    /// Returns the number of different lines of all apps.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.inner().once
    }

    /// Returns the lines without a number, each with its app.
    #[must_use]
    pub fn reports(&self) -> Vec<(String, String)> {
        self.inner().reports.clone()
    }

    /// Returns what was not a valid message.
    #[must_use]
    pub fn garbled(&self) -> Vec<String> {
        self.inner().garbled.clone()
    }

    /// Returns the whole messages in the order of arrival, if they are kept.
    #[must_use]
    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.inner().messages.clone().unwrap_or_default()
    }

    /// Returns the age in milliseconds below which `permille` of the lines first arrived, and clears the ages.
    #[must_use]
    pub fn take_age(&self, permille: usize) -> f64 {
        let mut ages = std::mem::take(&mut self.inner().ages);
        ages.sort_unstable();
        let place = (ages.len() * permille / 1000).min(ages.len().saturating_sub(1));
        f64::from(ages.get(place).copied().unwrap_or_default()) / 1000.0
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now_nanos() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(numbers: &[u64]) -> Tally {
        let mut tally = Tally::default();
        numbers.iter().for_each(|number| tally.record(*number));
        tally
    }

    /// Repeated lines are distinguished from late lines.
    #[test]
    fn repeated_and_late_lines_are_distinguished() {
        assert_eq!(tally(&[0, 1, 2]).once, 3);
        let again = tally(&[0, 1, 2, 1, 2, 3]);
        assert_eq!((again.once, again.twice, again.late, again.gaps.len()), (4, 2, 0, 0));
        let late = tally(&[0, 5, 2, 2]);
        assert_eq!((late.once, late.twice, late.late), (3, 1, 1));
        assert_eq!(late.gaps, BTreeMap::from([(1, 1), (3, 4)]));
        assert_eq!(late.missing(6), 3);
    }
}
