//! What the store may hold, and the sizes that follow from it.

use weir_envelope::batch::Kind;

/// Smallest budget of a class: below it, the fixed buffers would be most of it.
pub const MIN_BUDGET: usize = 8 << 20;

/// Largest single envelope that is stored, whatever the budget: offsets within a chunk are 32 bits wide.
const MAX_ENVELOPE: usize = 64 << 20;

/// What the store may hold. All sizes are bytes of memory, counted exactly: capacities, not lengths.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Budget of the logs.
    pub logs_bytes: usize,
    /// Budget of everything else: counters, gauges, timers, events. Logs never evict metrics, nor the other way round.
    pub metrics_bytes: usize,
    /// Budget of the table of sources.
    pub sources_bytes: usize,
    /// Most rows of one kind that a source keeps.
    pub max_per_source: u64,
    /// Rows that a kind collects before they become a chunk. What lies there is sorted again for every reader.
    pub active_rows: usize,
    /// Rows of a chunk that small chunks are merged into.
    pub chunk_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            logs_bytes: 512 << 20,
            metrics_bytes: 256 << 20,
            sources_bytes: 64 << 20,
            max_per_source: 1_000_000,
            active_rows: 4096,
            chunk_rows: 65_536,
        }
    }
}

/// Kinds that share a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Log lines.
    Logs,
    /// Counters, gauges, timers, events, and envelopes without a payload.
    Metrics,
}

impl Class {
    /// Both classes.
    pub const ALL: [Self; 2] = [Self::Logs, Self::Metrics];

    /// The class of `kind`.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        match kind {
            Kind::Log => Self::Logs,
            _ => Self::Metrics,
        }
    }

    /// The kinds of the class.
    #[must_use]
    pub const fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Logs => &[Kind::Log],
            Self::Metrics => &[Kind::Counter, Kind::Gauge, Kind::Timer, Kind::Event, Kind::None],
        }
    }
}

/// The sizes that follow from the budget of one class.
///
/// ```text
/// 0 ............ low 25/32 ...... soft 27/32 ...... hard 28/32 ...... budget
///                ^ reclaim down   ^ reclaim in the  ^ who ingests     ^ room for a merge's
///                  to here          background        waits here        second copy
/// ```
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizing {
    pub(crate) hard: usize,
    pub(crate) soft: usize,
    pub(crate) low: usize,
    pub(crate) active_rows: usize,
    /// Payload, and memory for new tag sets, that the active part collects before it becomes a chunk.
    pub(crate) active_bytes: usize,
    pub(crate) chunk_rows: usize,
    pub(crate) chunk_bytes: usize,
    /// Largest envelope that is stored.
    pub(crate) max_envelope: usize,
}

impl Limits {
    pub(crate) fn sizing(&self, class: Class) -> Sizing {
        let budget = match class {
            Class::Logs => self.logs_bytes,
            Class::Metrics => self.metrics_bytes,
        }
        .max(MIN_BUDGET);
        let part = budget / 32;
        Sizing {
            hard: part * 28,
            soft: part * 27,
            low: part * 25,
            active_rows: self.active_rows.clamp(1, 65_536),
            active_bytes: (budget / 512).clamp(64 << 10, 1 << 20),
            chunk_rows: self.chunk_rows.clamp(1, 1 << 20),
            chunk_bytes: part.clamp(256 << 10, 16 << 20),
            max_envelope: part.min(MAX_ENVELOPE),
        }
    }
}
