//! The maintenance of the store: evicts rows, merges chunks, and forgets sources.
//!
//! With a [`Maintainer`] this happens on a thread of its own, before a budget is exhausted. Ingest does the work itself
//! if the thread falls behind, if a budget is exhausted, or if there is no maintainer.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use weir_envelope::batch::Kind;

use crate::chunk::{Chunk, merge};
use crate::limits::Class;
use crate::store::{Core, Shortage, Store};

mod evict;
mod plan;

use plan::{ExpiredShare, LaneView};

/// How many identities a round of maintenance checks, beside twice the number of those in the chunks that it replaced.
const SWEEP: usize = 1024;

/// Wakes the maintenance thread.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    state: Mutex<State>,
    wake: Condvar,
}

/// The state of the maintenance thread.
#[derive(Debug, Default)]
struct State {
    /// Whether a thread exists.
    attached: bool,
    /// Whether maintenance is due.
    wanted: bool,
    /// Whether the thread has to end.
    stop: bool,
}

/// The maintenance thread of a store. Dropping this waits for the current round and ends the thread.
#[derive(Debug)]
pub struct Maintainer {
    store: Store,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Maintainer {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot start a thread.
    pub fn start(store: &Store) -> std::io::Result<Self> {
        let store = store.clone();
        let worker = store.clone();
        let thread = std::thread::Builder::new()
            .name("log-cache-maintenance".to_owned())
            .spawn(move || worker.maintain_until_stopped())?;
        store.inner.signal.state.lock().attached = true;
        Ok(Self {
            store,
            thread: Some(thread),
        })
    }
}

impl Drop for Maintainer {
    fn drop(&mut self) {
        let signal = &self.store.inner.signal;
        {
            let mut state = signal.state.lock();
            state.stop = true;
            state.attached = false;
        }
        signal.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // The panic hook has reported a panic of the thread. The store works without it.
            drop(thread.join());
        }
        // Reset after the thread has ended, so that another one can be started for the store.
        signal.state.lock().stop = false;
    }
}

impl Store {
    fn maintain_until_stopped(&self) {
        let signal = &self.inner.signal;
        loop {
            {
                let mut state = signal.state.lock();
                while !state.wanted && !state.stop {
                    signal.wake.wait(&mut state);
                }
                if state.stop {
                    return;
                }
                // Before the work: what is requested meanwhile leads to another round.
                state.wanted = false;
            }
            self.maintain();
        }
    }

    /// Requests maintenance: wakes the thread, or does the work if there is no thread or it is far behind.
    pub(crate) fn request_maintenance(&self) {
        let attached = {
            let mut state = self.inner.signal.state.lock();
            state.wanted = true;
            state.attached
        };
        if attached {
            self.inner.signal.wake.notify_one();
        }
        if !attached || self.inner.core.lock().is_far_behind() {
            self.maintain();
        }
    }

    /// Does all maintenance that is due.
    pub fn maintain(&self) {
        let _only_one = self.inner.maintenance.lock();
        for class in Class::ALL {
            let (bytes, sizing) = {
                let core = self.inner.core.lock();
                (core.class_bytes(class), *core.lanes[class.kinds()[0].index()].sizing())
            };
            if bytes > sizing.soft {
                self.make_room(class, bytes - sizing.low, sizing.soft);
            }
        }
        for kind in Kind::ALL {
            self.compact(kind, ExpiredShare::Half);
        }
    }

    /// Frees the memory or the sources that are missing to admit a slice.
    pub(crate) fn reclaim(&self, shortage: Shortage) {
        let _only_one = self.inner.maintenance.lock();
        match shortage {
            Shortage::Rows(class, cost) => {
                let (bytes, sizing) = {
                    let core = self.inner.core.lock();
                    (core.class_bytes(class), *core.lanes[class.kinds()[0].index()].sizing())
                };
                // Another thread may have made room while this one waited for the lock.
                let hard = sizing.hard.saturating_sub(cost);
                if bytes > hard {
                    self.make_room(class, bytes - sizing.low.saturating_sub(cost), hard);
                }
            }
            Shortage::Sources => self.forget_sources(),
        }
    }

    /// Frees about `need` bytes of `class`, first from the heaviest sources and then by age, and continues until the
    /// class is below `limit`.
    fn make_room(&self, class: Class, need: usize, limit: usize) {
        let views: Vec<LaneView> = class.kinds().iter().map(|kind| self.view(*kind)).collect();
        let cuts = evict::plan(&views, need);
        // The views keep chunks alive, whose memory the rewriting below is to free.
        drop(views);
        {
            let mut core = self.inner.core.lock();
            // The rows become invisible at once. Their memory is freed by the rewriting below.
            for cut in cuts {
                core.expire(cut.kind, cut.slot, cut.floor);
            }
        }
        for kind in class.kinds() {
            // Even chunks with few expired rows are rewritten, because memory is needed now.
            self.compact(*kind, ExpiredShare::Eighth);
            self.inner.core.lock().lanes[kind.index()].sweep(usize::MAX);
        }
        for attempt in 0..2 {
            while self.inner.core.lock().class_bytes(class) > limit && self.drop_oldest(class) {}
            let mut core = self.inner.core.lock();
            if attempt > 0 || core.class_bytes(class) <= limit {
                break;
            }
            // No chunk is left, and the rest is in the active parts: seal them and drop those chunks.
            class.kinds().iter().for_each(|kind| core.seal(*kind));
        }
    }

    /// Drops the oldest chunk of `class`; returns whether there was one.
    fn drop_oldest(&self, class: Class) -> bool {
        let mut core = self.inner.core.lock();
        let oldest = class
            .kinds()
            .iter()
            .filter_map(|kind| {
                core.lanes[kind.index()]
                    .chunks()
                    .first()
                    .map(|chunk| (chunk.born(), *kind))
            })
            .min_by_key(|(born, _)| *born);
        let Some((_, kind)) = oldest else { return false };
        let dropped = core.lanes[kind.index()].replace(0, 1, None);
        for run in dropped.iter().flat_map(|chunk| chunk.runs()) {
            core.expire(kind, run.source().slot(), run.end_ordinal());
        }
        drop(core);
        // After the lock, because freeing the memory takes time.
        drop(dropped);
        self.inner.core.lock().lanes[kind.index()].sweep(usize::MAX);
        true
    }

    /// Merges small chunks of `kind`, and rewrites those with a share of expired rows of at least `dead`.
    fn compact(&self, kind: Kind, dead: ExpiredShare) {
        let view = self.view(kind);
        let sizing = *self.inner.core.lock().lanes[kind.index()].sizing();
        let groups = plan::groups(&view, &sizing, dead);
        let mut swept = SWEEP;
        // From the back, so that the indexes of the groups before stay valid.
        for group in groups.into_iter().rev() {
            let chunks: &[Arc<Chunk>] = &view.chunks[group.clone()];
            // The merge runs without the lock on immutable chunks. Only the maintenance replaces chunks, so the indexes
            // of the view stay valid; rows that expire meanwhile stay in the merged chunk and are hidden by the floor.
            let merged = merge(chunks, |slot| view.floor(slot));
            swept += chunks
                .iter()
                .map(|chunk| chunk.rows().identities().len())
                .sum::<usize>()
                * 2;
            let old = self.inner.core.lock().lanes[kind.index()].replace(group.start, group.len(), merged);
            drop(old);
        }
        drop(view);
        let mut core = self.inner.core.lock();
        let lane = &mut core.lanes[kind.index()];
        // Also if no chunk was rewritten, or every chunk that is sealed would lead to another check.
        lane.note_compacted();
        swept = swept.min(lane.values());
        drop(core);
        // In portions, so that ingest never waits long for the lock.
        while swept > 0 {
            let portion = swept.min(SWEEP);
            self.inner.core.lock().lanes[kind.index()].sweep(portion);
            swept -= portion;
        }
    }

    /// Makes room in the table of sources: first forgets sources without rows, then those that were silent longest.
    fn forget_sources(&self) {
        // Bounded, because other threads may add sources meanwhile. Each round retires a sixteenth of them.
        for _ in 0..32 {
            {
                let mut core = self.inner.core.lock();
                if core.registry.bytes() < self.inner.limits.sources_bytes {
                    return;
                }
                core.forget_absent_sources();
                if core.registry.bytes() < self.inner.limits.sources_bytes / 16 * 15 {
                    return;
                }
                core.retire_sources();
                // A source is forgotten only once no part of memory has rows of it, so its expired rows in the active
                // parts are removed too.
                Kind::ALL.into_iter().for_each(|kind| core.seal(kind));
            }
            for kind in Kind::ALL {
                self.compact(kind, ExpiredShare::Any);
                self.inner.core.lock().lanes[kind.index()].sweep(usize::MAX);
            }
            self.inner.core.lock().forget_absent_sources();
        }
    }

    /// Returns the chunks and floors of a kind at this moment.
    fn view(&self, kind: Kind) -> LaneView {
        let core = self.inner.core.lock();
        LaneView {
            kind,
            chunks: Arc::clone(core.lanes[kind.index()].chunks()),
            floors: core.registry.floors(kind),
        }
    }
}

impl Core {
    /// Whether maintenance is due. This is checked whenever a chunk was sealed.
    pub(crate) fn wants_maintenance(&self) -> bool {
        let full = Class::ALL
            .into_iter()
            .any(|class| self.class_bytes(class) > self.lanes[class.kinds()[0].index()].sizing().soft);
        full || self.lanes.iter().any(|lane| lane.wants_compaction())
    }

    /// Whether chunks are sealed faster than the thread merges them.
    fn is_far_behind(&self) -> bool {
        self.lanes.iter().any(|lane| lane.small_chunks() > 4 * plan::FAN_IN)
    }

    /// Forgets the sources that have no row in memory.
    fn forget_absent_sources(&mut self) {
        let mut present = Vec::new();
        let mut mark = |slot: u32| {
            let slot = slot as usize;
            if present.len() <= slot {
                present.resize(slot + 1, false);
            }
            present[slot] = true;
        };
        for lane in &self.lanes {
            lane.active().sources().for_each(|source| mark(source.slot()));
            lane.chunks()
                .iter()
                .flat_map(|chunk| chunk.runs())
                .for_each(|run| mark(run.source().slot()));
        }
        self.registry.forget_absent(&present);
    }
}
