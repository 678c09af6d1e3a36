//! Who has to go when a budget is exhausted.
//!
//! First the heaviest: what a source has of a kind is cut down to a common level, oldest rows first, as far as the level
//! stays above twice the average. So the quiet do not pay for the noisy. If that is not enough, nobody stands out, and
//! the oldest chunks go, whoever's they are: so what nobody writes to any more does not stay for ever.
//!
//! "Oldest" is by arrival. Clocks of producers decide nothing here: a row from the future goes when its time has come.

use weir_envelope::batch::Kind;

use super::plan::{LaneView, share};

/// Rows of `kind` of the source in `slot` are to go below the ordinal `floor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) kind: Kind,
    pub(crate) slot: u32,
    pub(crate) floor: u64,
}

/// What to let expire to free about `need` bytes, counting what is gone already but still takes memory.
pub(crate) fn plan(lanes: &[LaneView], need: usize) -> Vec<Cut> {
    let mut holders = Vec::new();
    let mut missing = need;
    for (lane, view) in lanes.iter().enumerate() {
        let mut bytes = vec![0usize; view.floors.len()];
        for chunk in view.chunks.iter() {
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
        holders.extend(slots.map(|(slot, bytes)| Holder { lane, slot, bytes }));
    }
    let mut cuts = Vec::new();
    let level = level(&mut holders, missing);
    for holder in holders.iter().take_while(|holder| holder.bytes > level) {
        let view = &lanes[holder.lane];
        let over = holder.bytes - level;
        cuts.push(cut(view, holder.slot, over));
        missing = missing.saturating_sub(over);
    }
    if missing > 0 {
        cut_oldest(lanes, missing, &mut cuts);
    }
    cuts
}

/// What one source has of one kind.
#[derive(Debug)]
struct Holder {
    lane: usize,
    slot: u32,
    bytes: usize,
}

/// The level to which the heaviest are to be cut so that `need` bytes come free; at least twice the average. Sorts the
/// holders, heaviest first.
fn level(holders: &mut [Holder], need: usize) -> usize {
    if need == 0 || holders.is_empty() {
        return usize::MAX;
    }
    holders.sort_unstable_by_key(|holder| std::cmp::Reverse(holder.bytes));
    let lowest = holders.iter().map(|holder| holder.bytes).sum::<usize>() / holders.len() * 2;
    let mut above = 0;
    for (index, holder) in holders.iter().enumerate() {
        above += holder.bytes;
        let next = holders.get(index + 1).map_or(0, |next| next.bytes).max(lowest);
        // What comes free if all up to this one are cut to the level of the next.
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

/// Cuts `over` bytes of the oldest rows of a source.
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
        // A row takes at least one byte, so that there are fewer rows than bytes.
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

/// Cuts whole chunks, the oldest of all kinds first, until `missing` bytes are found.
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

    fn holders(bytes: &[usize]) -> Vec<Holder> {
        (0u32..)
            .zip(bytes)
            .map(|(slot, bytes)| Holder {
                lane: 0,
                slot,
                bytes: *bytes,
            })
            .collect()
    }

    /// The heaviest come down to a common level that frees what is needed.
    #[test]
    fn the_heaviest_are_cut_to_one_level() {
        assert_eq!(level(&mut holders(&[1000, 10, 10, 10]), 300), 700);
        assert_eq!(level(&mut holders(&[1000, 900, 10, 10, 10, 10, 10, 10]), 300), 800);
        assert_eq!(level(&mut holders(&[10, 900, 10, 10, 10, 1000, 10, 10]), 50), 950);
    }

    /// It stays above twice the average: what is then still missing is for age to decide.
    #[test]
    fn nobody_is_cut_below_twice_the_average() {
        assert_eq!(level(&mut holders(&[100; 10]), 500), 200);
        assert_eq!(level(&mut holders(&[1000, 10, 10, 10]), 900), 514);
        assert_eq!(level(&mut [], 900), usize::MAX);
        assert_eq!(level(&mut holders(&[1000, 10]), 0), usize::MAX);
    }
}
