//! One step for each component of a table, in the order that their needs give.

use std::collections::BTreeSet;
use std::fmt;
use std::future::{Ready, ready};

use futures::StreamExt as _;
use futures::future::{Join, join};
use futures::stream::FuturesUnordered;

use crate::{Entry, Table};

/// In which direction a table is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Each component after all that it needs: the order of a start.
    Start,
    /// Each component after all that need it: the order of a stop.
    Stop,
}

/// The steps of [`Table::walk`].
pub struct Walk<'t, H, S, F: Future> {
    table: &'t Table<H>,
    direction: Direction,
    step: S,
    waiting: Vec<Entry<H>>,
    running: FuturesUnordered<Join<Ready<Entry<H>>, F>>,
    ended: BTreeSet<&'static str>,
}

impl<H> Table<H> {
    /// Takes `step` for each component. A step begins as soon as those before it in `direction` have ended, so that the
    /// steps of components that do not need each other run at the same time. They run while [`Walk::next`] is polled.
    pub fn walk<S, F>(&self, direction: Direction, step: S) -> Walk<'_, H, S, F>
    where
        S: FnMut(&Entry<H>) -> F,
        F: Future,
    {
        Walk {
            table: self,
            direction,
            step,
            waiting: self.start_order(),
            running: FuturesUnordered::new(),
            ended: BTreeSet::new(),
        }
    }
}

impl<H, S, F> Walk<'_, H, S, F>
where
    S: FnMut(&Entry<H>) -> F,
    F: Future,
{
    /// Waits for the next step to end; gives its component and its result, or `None` after the last one. Cancel safe.
    pub async fn next(&mut self) -> Option<(Entry<H>, F::Output)> {
        let waiting = std::mem::take(&mut self.waiting);
        let (begin, waiting): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|entry| self.may_begin(entry));
        self.waiting = waiting;
        for entry in begin {
            let step = (self.step)(&entry);
            self.running.push(join(ready(entry), step));
        }
        let (entry, result) = self.running.next().await?;
        self.ended.insert(entry.name());
        Some((entry, result))
    }

    fn may_begin(&self, entry: &Entry<H>) -> bool {
        match self.direction {
            Direction::Start => entry.description().needs.iter().all(|need| self.ended.contains(need)),
            Direction::Stop => {
                let mut needed_by = self
                    .table
                    .descriptions()
                    .filter(|other| other.needs.contains(&entry.name()));
                needed_by.all(|other| self.ended.contains(other.name))
            }
        }
    }
}

impl<H, S, F: Future> fmt::Debug for Walk<'_, H, S, F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Walk")
            .field("direction", &self.direction)
            .field("waiting", &self.waiting)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
