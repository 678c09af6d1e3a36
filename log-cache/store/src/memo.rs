//! Remembers a yes-or-no answer for each source, for conditions that are evaluated in each of many chunks.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Snapshot;
use crate::source::Source;

/// The answers for the sources of one snapshot.
///
/// Threads share it. Two threads that need the answer for a source at the same time both compute it.
#[derive(Debug)]
pub struct Memo {
    /// By slot, the address of the source, which is even, plus one for a yes. The address shows whether the slot still
    /// belongs to the source for which the answer was computed.
    answers: Box<[AtomicUsize]>,
}

impl Snapshot {
    /// Returns an empty memo for the sources of this snapshot. It must not be used after the snapshot is dropped.
    #[must_use]
    pub fn memo(&self) -> Memo {
        Memo {
            answers: (0..self.slots()).map(|_| AtomicUsize::new(0)).collect(),
        }
    }
}

impl Memo {
    /// Returns the answer for `source`, which is computed with `ask` the first time.
    pub fn answer(&self, source: &Source, ask: impl FnOnce() -> bool) -> bool {
        let Some(answer) = self.answers.get(source.slot() as usize) else {
            return ask();
        };
        let place = std::ptr::from_ref(source).addr();
        let known = answer.load(Ordering::Relaxed);
        if known & !1 == place {
            return known & 1 == 1;
        }
        let yes = ask();
        answer.store(place | usize::from(yes), Ordering::Relaxed);
        yes
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use weir_envelope::batch::{BatchBuilder, Kind};
    use weir_envelope::encode::Writer;
    use weir_envelope::view::Stream;

    use crate::{Limits, Store};

    /// Each source has its own answer, which is computed once.
    #[test]
    fn each_answer_is_computed_once() {
        let store = Store::new(Limits::default());
        let mut builder = BatchBuilder::new();
        for source in ["a", "b", "c"] {
            builder.push_with(|out| {
                Writer::new(out).timestamp(1).source_id(source).log(b"x", Stream::Out);
            });
        }
        store.ingest(&builder.finish(), |_| {});
        let snapshot = store.snapshot(Kind::Log);
        let (memo, asked) = (snapshot.memo(), Cell::new(0));
        for _ in 0..3 {
            for chunk in snapshot.chunks() {
                for identity in chunk.rows().identities() {
                    let source = identity.source();
                    let ask = || {
                        asked.set(asked.get() + 1);
                        source.id() != "b"
                    };
                    assert_eq!(memo.answer(source, ask), source.id() != "b");
                }
            }
        }
        assert_eq!(asked.get(), 3);
    }
}
