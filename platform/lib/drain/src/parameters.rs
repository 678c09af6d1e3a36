//! The query parameters of a drain's URL (contract "URL query parameters").

use weir_envelope::batch::Kind;

use crate::source_types::SourceTypes;

/// A set of envelope kinds.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kinds(u8);

impl Kinds {
    /// Logs and events, which is the default.
    pub const LOGS: Self = Self::of(&[Kind::Log, Kind::Event]);
    /// Logs alone.
    pub const LOGS_WITHOUT_EVENTS: Self = Self::of(&[Kind::Log]);
    /// Counters and gauges.
    pub const METRICS: Self = Self::of(&[Kind::Counter, Kind::Gauge]);
    /// Logs, counters and gauges.
    pub const LOGS_AND_METRICS: Self = Self::of(&[Kind::Log, Kind::Counter, Kind::Gauge]);
    /// Timers.
    pub const TRACES: Self = Self::of(&[Kind::Timer]);
    /// All kinds that have a payload.
    pub const ALL: Self = Self::of(&[Kind::Log, Kind::Event, Kind::Counter, Kind::Gauge, Kind::Timer]);

    const fn of(kinds: &[Kind]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < kinds.len() {
            bits |= 1 << kinds[index] as u8;
            index += 1;
        }
        Self(bits)
    }

    /// Whether `kind` is in the set.
    #[must_use]
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

impl std::fmt::Debug for Kinds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = Kind::ALL.into_iter().filter(|kind| self.contains(*kind));
        formatter.debug_set().entries(kinds).finish()
    }
}

/// The envelopes that a drain wants, and the form in which it wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Parameters {
    /// The wanted kinds of envelopes.
    pub kinds: Kinds,
    /// Whether the `tags@47450` element is written; `None` for the platform's default.
    pub metadata: Option<bool>,
    /// Whether the TLS profile of the platform's own services is used instead of that for other drains.
    pub strict_internal: bool,
    /// The wanted logs and events, by source type.
    pub source_types: SourceTypes,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            kinds: Kinds::LOGS,
            metadata: None,
            strict_internal: false,
            source_types: SourceTypes::All,
        }
    }
}

impl Parameters {
    /// Whether the drain wants an envelope of this kind and `source_type` tag. An empty text stands for a missing tag.
    /// The tag is ignored unless [`Parameters::filters_by_source_type`] is true.
    #[must_use]
    pub fn wants(&self, kind: Kind, source_type: &str) -> bool {
        self.kinds.contains(kind) && (!matches!(kind, Kind::Log | Kind::Event) || self.source_types.wants(source_type))
    }

    /// Whether [`Parameters::wants`] reads the source type.
    #[must_use]
    pub fn filters_by_source_type(&self) -> bool {
        self.source_types != SourceTypes::All
    }

    /// Whether the `tags@47450` element is written where the platform's default is `default`.
    #[must_use]
    pub fn writes_metadata(&self, default: bool) -> bool {
        self.metadata.unwrap_or(default)
    }
}
