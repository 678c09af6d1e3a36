//! Chooses the rows that expire when a budget is exhausted.
//!
//! First, the heaviest sources are cut down to a common level of bytes per kind, oldest rows first. The level is never
//! below twice the average, so that quiet sources do not pay for noisy ones. If that does not free enough, no source
//! stands out, and the oldest chunks expire as a whole, so that rows of sources that no longer write do not stay for
//! ever.
//!
//! Age is counted by arrival. The clocks of producers have no influence: a row with a timestamp in the future expires
//! with those that arrived with it.

use weir_envelope::batch::Kind;

use super::plan::{LaneView, share};

/// The rows of `kind` of the source in `slot` expire below the ordinal `floor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) kind: Kind,
    pub(crate) slot: u32,
    pub(crate) floor: u64,
}

/// Returns the rows that have to expire to free about `need` bytes. Expired rows that are still in memory count as
/// freed.
pub(crate) fn plan(lanes: &[LaneView], need: usize) -> Vec<Cut> {
    let mut holdings = Vec::new();
    let mut missing = need;
    for (lane, view) in lanes.iter().enumerate() {
        let mut bytes = vec![0usize; view.floors.len()];
        for chunk in view.chunks.iter() {
            // Rows that have expired before are freed by the rewriting that follows, without a new cut.
            missing = missing.saturating_sub(view.dead(chunk).1);
            for run in chunk.runs() {
                let slot = run.source().slot();
                let live = run.len() - run.dead(view.floor(slot));
                if let Some(bytes) = bytes.get_mut(slot as usize) {
                    *bytes += share(chunk.run_bytes(run), live, run.len());
                }
            }
        }
        let slots = (0u32..).zip(bytes).filter(|(_, bytes)| *bytes > 0);
        holdings.extend(slots.map(|(slot, bytes)| Holding { lane, slot, bytes }));
    }
    let mut cuts = Vec::new();
    let level = level(&mut holdings, missing);
    for holding in holdings.iter().take_while(|holding| holding.bytes > level) {
        let view = &lanes[holding.lane];
        let over = holding.bytes - level;
        cuts.push(cut(view, holding.slot, over));
        missing = missing.saturating_sub(over);
    }
    if missing > 0 {
        cut_oldest(lanes, missing, &mut cuts);
    }
    cuts
}

/// The memory of one source and kind.
#[derive(Debug)]
struct Holding {
    lane: usize,
    slot: u32,
    bytes: usize,
}

/// Returns the level in bytes to which the heaviest holdings are cut to free `need` bytes; at least twice the average.
/// Sorts the holdings, heaviest first.
fn level(holdings: &mut [Holding], need: usize) -> usize {
    if need == 0 || holdings.is_empty() {
        return usize::MAX;
    }
    holdings.sort_unstable_by_key(|holding| std::cmp::Reverse(holding.bytes));
    let lowest = holdings.iter().map(|holding| holding.bytes).sum::<usize>() / holdings.len() * 2;
    let mut above = 0;
    for (index, holding) in holdings.iter().enumerate() {
        above += holding.bytes;
        let next = holdings.get(index + 1).map_or(0, |next| next.bytes).max(lowest);
        // The bytes that are freed if all holdings up to this one are cut to the level of the next.
        let count = index + 1;
        if above >= next * count + need {
            return ((above - need) / count).max(lowest);
        }
        if next == lowest {
            break;
        }
    }
    lowest
}

/// Returns the cut that frees `over` bytes of the oldest rows of a source.
fn cut(view: &LaneView, slot: u32, over: usize) -> Cut {
    let mut floor = view.floor(slot);
    let mut over = over;
    for chunk in view.chunks.iter() {
        let Some(run) = chunk.run_of(slot) else { continue };
        let dead = run.dead(floor);
        let bytes = chunk.run_bytes(run);
        let live = share(bytes, run.len() - dead, run.len());
        if live <= over {
            over -= live;
            floor = floor.max(run.end_ordinal());
            continue;
        }
        // Rows of a run count as equally large, which is near enough for a budget. Every row takes at least one byte.
        let rows = (over as u64 * run.len()).div_ceil(bytes.max(1) as u64);
        floor = (run.end_ordinal() - run.len() + dead + rows).min(run.end_ordinal());
        break;
    }
    Cut {
        kind: view.kind,
        slot,
        floor,
    }
}

/// Appends cuts of whole chunks, oldest first among all kinds, until they free `missing` bytes.
fn cut_oldest(lanes: &[LaneView], mut missing: usize, cuts: &mut Vec<Cut>) {
    let mut chunks: Vec<_> = lanes
        .iter()
        .flat_map(|view| view.chunks.iter().map(move |chunk| (view, chunk)))
        .collect();
    chunks.sort_by_key(|(_, chunk)| chunk.born());
    for (view, chunk) in chunks {
        if missing == 0 {
            return;
        }
        missing = missing.saturating_sub(chunk.bytes().saturating_sub(view.dead(chunk).1));
        cuts.extend(chunk.runs().iter().map(|run| Cut {
            kind: view.kind,
            slot: run.source().slot(),
            floor: run.end_ordinal(),
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holdings(bytes: &[usize]) -> Vec<Holding> {
        (0u32..)
            .zip(bytes)
            .map(|(slot, bytes)| Holding {
                lane: 0,
                slot,
                bytes: *bytes,
            })
            .collect()
    }

    /// The heaviest sources are cut to the common level that frees the needed bytes.
    #[test]
    fn the_heaviest_are_cut_to_one_level() {
        assert_eq!(level(&mut holdings(&[1000, 10, 10, 10]), 300), 700);
        assert_eq!(level(&mut holdings(&[1000, 900, 10, 10, 10, 10, 10, 10]), 300), 800);
        assert_eq!(level(&mut holdings(&[10, 900, 10, 10, 10, 1000, 10, 10]), 50), 950);
    }

    /// The level is at least twice the average. Memory that is missing after that is freed by age.
    #[test]
    fn the_level_is_at_least_twice_the_average() {
        assert_eq!(level(&mut holdings(&[100; 10]), 500), 200);
        assert_eq!(level(&mut holdings(&[1000, 10, 10, 10]), 900), 514);
        assert_eq!(level(&mut [], 900), usize::MAX);
        assert_eq!(level(&mut holdings(&[1000, 10]), 0), usize::MAX);
    }
}
