//! Selectors: which envelopes a subscription asks for.
//!
//! Semantics of the original's router (logging §8): a selector without a message selects nothing; the source id must be
//! equal or empty; a counter selector may name its counter; a gauge selector with names matches only a gauge whose set of
//! metric names is exactly that set.

use std::collections::BTreeSet;

use weir_proto::loggregator_v2 as v2;

use crate::batch::{Kind, RawEnvelope};
use crate::view::Message;

/// One selector, normalised so that equal requests compare equal: the key of a shard group is made of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector {
    /// The source asked for; empty for any.
    pub source_id: String,
    /// What of it.
    pub what: What,
}

/// The kind that a selector asks for, and its name filter.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// Log lines.
    Log,
    /// Counters; of the given name, if there is one.
    Counter(Option<String>),
    /// Gauges; with exactly the given names, if there are any.
    Gauge(BTreeSet<String>),
    /// Timers.
    Timer,
    /// Events.
    Event,
}

impl Selector {
    /// The selector that asks for everything of `kind` and `source_id` (empty: any).
    #[must_use]
    pub fn all_of(kind: Kind, source_id: &str) -> Option<Self> {
        let what = match kind {
            Kind::Log => What::Log,
            Kind::Counter => What::Counter(None),
            Kind::Gauge => What::Gauge(BTreeSet::new()),
            Kind::Timer => What::Timer,
            Kind::Event => What::Event,
            Kind::None => return None,
        };
        Some(Self {
            source_id: source_id.to_owned(),
            what,
        })
    }

    /// Reads a selector of a request; `None` if it has no message.
    #[must_use]
    pub fn from_proto(selector: &v2::Selector) -> Option<Self> {
        use v2::selector::Message as Proto;
        let what = match selector.message.as_ref()? {
            Proto::Log(_) => What::Log,
            Proto::Counter(counter) if counter.name.is_empty() => What::Counter(None),
            Proto::Counter(counter) => What::Counter(Some(counter.name.clone())),
            Proto::Gauge(gauge) => What::Gauge(gauge.names.iter().cloned().collect()),
            Proto::Timer(_) => What::Timer,
            Proto::Event(_) => What::Event,
        };
        Some(Self {
            source_id: selector.source_id.clone(),
            what,
        })
    }

    /// The form in which a request carries it.
    #[must_use]
    pub fn to_proto(&self) -> v2::Selector {
        use v2::selector::Message as Proto;
        let message = match &self.what {
            What::Log => Proto::Log(v2::LogSelector {}),
            What::Counter(name) => Proto::Counter(v2::CounterSelector {
                name: name.clone().unwrap_or_default(),
            }),
            What::Gauge(names) => Proto::Gauge(v2::GaugeSelector {
                names: names.iter().cloned().collect(),
            }),
            What::Timer => Proto::Timer(v2::TimerSelector {}),
            What::Event => Proto::Event(v2::EventSelector {}),
        };
        v2::Selector {
            source_id: self.source_id.clone(),
            message: Some(message),
        }
    }

    /// The kind it asks for.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.what {
            What::Log => Kind::Log,
            What::Counter(_) => Kind::Counter,
            What::Gauge(_) => Kind::Gauge,
            What::Timer => Kind::Timer,
            What::Event => Kind::Event,
        }
    }

    /// Whether the name filter lets `envelope` pass; kind and source are the caller's business (its index).
    #[must_use]
    pub fn name_matches(&self, envelope: RawEnvelope<'_>) -> bool {
        match &self.what {
            What::Counter(Some(wanted)) => {
                matches!(envelope.view().message(), Message::Counter { name, .. } if name == wanted)
            }
            What::Gauge(wanted) if !wanted.is_empty() => match envelope.view().message() {
                Message::Gauge(metrics) => {
                    let names: BTreeSet<&str> = metrics.map(|metric| metric.name).collect();
                    names.len() == wanted.len() && names.iter().zip(wanted).all(|(name, wanted)| name == wanted)
                }
                _ => false,
            },
            _ => true,
        }
    }

    /// Whether `envelope` is what this selector asks for.
    #[must_use]
    pub fn matches(&self, envelope: RawEnvelope<'_>) -> bool {
        envelope.kind() == self.kind()
            && (self.source_id.is_empty() || envelope.source_id_bytes() == self.source_id.as_bytes())
            && self.name_matches(envelope)
    }
}

/// Every kind of envelope from every source: what a firehose asks for.
#[must_use]
pub fn everything() -> Vec<v2::Selector> {
    Kind::ALL
        .iter()
        .filter_map(|kind| Selector::all_of(*kind, ""))
        .map(|selector| selector.to_proto())
        .collect()
}

/// The selectors of a request: the legacy one counts only if there are no others (logging §2).
#[must_use]
pub fn requested(selectors: &[v2::Selector], legacy: Option<&v2::Selector>) -> Vec<v2::Selector> {
    if selectors.is_empty() {
        legacy.cloned().into_iter().collect()
    } else {
        selectors.to_vec()
    }
}
