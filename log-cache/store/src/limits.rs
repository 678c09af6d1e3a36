//! The limits of the store, and the sizes that follow from them.

use weir_envelope::batch::Kind;

/// The smallest budget of a class, in bytes. Of a smaller one, the fixed buffers would be the greater part.
pub const MIN_BUDGET: usize = 8 << 20;

/// The largest envelope that is stored, in bytes, whatever the budget, because offsets within a chunk have 32 bits.
const MAX_ENVELOPE: usize = 64 << 20;

/// The limits of the store. All sizes are bytes of memory, counted by capacity and not by length.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The budget of logs.
    pub logs_bytes: usize,
    /// The budget of all other kinds: counters, gauges, timers and events. Logs and metrics never evict each other.
    pub metrics_bytes: usize,
    /// The budget of the table of sources.
    pub sources_bytes: usize,
    /// The greatest number of rows of one kind that a source keeps.
    pub max_per_source: u64,
    /// The number of rows after which the active part of a kind becomes a chunk. Every reader sorts the active part
    /// again.
    pub active_rows: usize,
    /// The greatest number of rows of a chunk that is made by merging.
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

/// A group of kinds that share one budget.
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

    /// Returns the class of `kind`.
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
///                ^ reclaim down   ^ reclaim in the  ^ ingest waits    ^ room for the second
///                  to here          background        and reclaims      copy during a merge
/// ```
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizing {
    pub(crate) hard: usize,
    pub(crate) soft: usize,
    pub(crate) low: usize,
    pub(crate) active_rows: usize,
    /// The payload and memory of new values, in bytes, after which the active part becomes a chunk.
    pub(crate) active_bytes: usize,
    pub(crate) chunk_rows: usize,
    pub(crate) chunk_bytes: usize,
    /// The largest envelope that is stored, in bytes.
    pub(crate) max_envelope: usize,
}

impl Limits {
    /// Returns the sizes that follow from the budget of a class.
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
