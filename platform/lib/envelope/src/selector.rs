//! Selectors: which envelopes a subscription asks for.
//!
//! The rules are those of the original doppler's router (logging §8). A selector without a message selects nothing. Its
//! source id must be empty or equal to the envelope's. A counter selector may name one counter. A gauge selector with
//! names matches only a gauge whose set of metric names is exactly that set.

use std::collections::BTreeSet;

use weir_proto::loggregator_v2 as v2;

use crate::batch::{Kind, RawEnvelope};
use crate::view::Message;

/// One selector in normal form: equal requests give equal selectors, which is why the key of a shard group is made of
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    /// The wanted source id; empty for any.
    pub source_id: String,
    /// The wanted kind of payload.
    pub payload: PayloadFilter,
}

/// The kind of payload that a selector asks for, with its filter by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PayloadFilter {
    /// Log lines.
    Log,
    /// Counters; if a name is given, only counters of that name.
    Counter(Option<String>),
    /// Gauges; if names are given, only gauges that have exactly these metrics.
    Gauge(BTreeSet<String>),
    /// Timers.
    Timer,
    /// Events.
    Event,
}

impl Selector {
    /// Returns the selector of all envelopes of `kind` from `source_id` (empty: from any source); `None` for
    /// [`Kind::None`], which no selector can name.
    #[must_use]
    pub fn all_of(kind: Kind, source_id: &str) -> Option<Self> {
        let payload = match kind {
            Kind::Log => PayloadFilter::Log,
            Kind::Counter => PayloadFilter::Counter(None),
            Kind::Gauge => PayloadFilter::Gauge(BTreeSet::new()),
            Kind::Timer => PayloadFilter::Timer,
            Kind::Event => PayloadFilter::Event,
            Kind::None => return None,
        };
        Some(Self {
            source_id: source_id.to_owned(),
            payload,
        })
    }

    /// Reads a selector of a request; `None` if it has no message and so selects nothing.
    #[must_use]
    pub fn from_proto(selector: &v2::Selector) -> Option<Self> {
        use v2::selector::Message as Proto;
        let payload = match selector.message.as_ref()? {
            Proto::Log(_) => PayloadFilter::Log,
            Proto::Counter(counter) if counter.name.is_empty() => PayloadFilter::Counter(None),
            Proto::Counter(counter) => PayloadFilter::Counter(Some(counter.name.clone())),
            Proto::Gauge(gauge) => PayloadFilter::Gauge(gauge.names.iter().cloned().collect()),
            Proto::Timer(_) => PayloadFilter::Timer,
            Proto::Event(_) => PayloadFilter::Event,
        };
        Some(Self {
            source_id: selector.source_id.clone(),
            payload,
        })
    }

    /// Returns the selector in the form in which a request carries it.
    #[must_use]
    pub fn to_proto(&self) -> v2::Selector {
        use v2::selector::Message as Proto;
        let message = match &self.payload {
            PayloadFilter::Log => Proto::Log(v2::LogSelector {}),
            PayloadFilter::Counter(name) => Proto::Counter(v2::CounterSelector {
                name: name.clone().unwrap_or_default(),
            }),
            PayloadFilter::Gauge(names) => Proto::Gauge(v2::GaugeSelector {
                names: names.iter().cloned().collect(),
            }),
            PayloadFilter::Timer => Proto::Timer(v2::TimerSelector {}),
            PayloadFilter::Event => Proto::Event(v2::EventSelector {}),
        };
        v2::Selector {
            source_id: self.source_id.clone(),
            message: Some(message),
        }
    }

    /// The kind of payload that the selector asks for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.payload {
            PayloadFilter::Log => Kind::Log,
            PayloadFilter::Counter(_) => Kind::Counter,
            PayloadFilter::Gauge(_) => Kind::Gauge,
            PayloadFilter::Timer => Kind::Timer,
            PayloadFilter::Event => Kind::Event,
        }
    }

    /// Whether `envelope` passes the filter by name. The caller has compared kind and source before, by its index.
    #[must_use]
    pub fn name_matches(&self, envelope: RawEnvelope<'_>) -> bool {
        match &self.payload {
            PayloadFilter::Counter(Some(wanted)) => {
                matches!(envelope.view().message(), Message::Counter { name, .. } if name == wanted)
            }
            PayloadFilter::Gauge(wanted) if !wanted.is_empty() => match envelope.view().message() {
                Message::Gauge(metrics) => {
                    // Compared as sets, because a gauge may repeat a name and the order of a map's entries is free.
                    let names: BTreeSet<&str> = metrics.map(|metric| metric.name).collect();
                    names.len() == wanted.len() && names.iter().zip(wanted).all(|(name, wanted)| name == wanted)
                }
                _ => false,
            },
            _ => true,
        }
    }

    /// Whether this selector selects `envelope`.
    #[must_use]
    pub fn matches(&self, envelope: RawEnvelope<'_>) -> bool {
        envelope.kind() == self.kind()
            && (self.source_id.is_empty() || envelope.source_id_bytes() == self.source_id.as_bytes())
            && self.name_matches(envelope)
    }
}

/// Returns the selectors of every kind from every source: those of a firehose.
#[must_use]
pub fn everything() -> Vec<v2::Selector> {
    Kind::ALL
        .iter()
        .filter_map(|kind| Selector::all_of(*kind, ""))
        .map(|selector| selector.to_proto())
        .collect()
}

/// Returns the selectors of a request. The legacy selector counts only if there are no others (logging §2).
#[must_use]
pub fn requested(selectors: &[v2::Selector], legacy: Option<&v2::Selector>) -> Vec<v2::Selector> {
    if selectors.is_empty() {
        legacy.cloned().into_iter().collect()
    } else {
        selectors.to_vec()
    }
}
