//! The series of one component: their envelopes, and the totals from which deltas are computed.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;
use weir_envelope::batch::BatchBuilder;
use weir_envelope::encode::Writer;

use crate::identity::{Identity, METRIC_VERSION};

/// The attribute whose value stands before the name of a gauge, with a dot between, and is no tag: `1024` and `CurrentSessions`
/// become `1024.CurrentSessions`. Some of the original's names begin with a port, and instruments must begin with a letter.
pub const NAME_PREFIX: &str = "metric.name_prefix";

/// The sorted tags of a series, as a part of its key.
type Tags = Vec<(String, String)>;

/// The last total of each counter, by component, name and tags. There are as many as instruments and attribute sets,
/// and the SDK limits the latter to 2,000 per instrument.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    last: BTreeMap<(String, String, Tags), u64>,
}

impl Totals {
    /// Returns the increase since the last call. If a total decreased, the counter was restarted and the whole total is
    /// new.
    fn delta(&mut self, component: &str, name: &str, tags: &Tags, total: u64) -> u64 {
        let last = self
            .last
            .entry((component.to_owned(), name.to_owned(), tags.clone()))
            .or_default();
        let delta = total.checked_sub(*last).unwrap_or(total);
        *last = total;
        delta
    }
}

/// The envelopes of one component at one time.
pub(crate) struct Page<'p> {
    builder: &'p mut BatchBuilder,
    totals: &'p mut Totals,
    identity: Identity<'p>,
    origin: String,
    instance_id: &'p str,
    timestamp: i64,
}

impl<'p> Page<'p> {
    pub(crate) fn new(
        builder: &'p mut BatchBuilder,
        totals: &'p mut Totals,
        identity: Identity<'p>,
        instance_id: &'p str,
        timestamp: i64,
    ) -> Self {
        Self {
            builder,
            totals,
            identity,
            origin: identity.origin(),
            instance_id,
            timestamp,
        }
    }

    pub(crate) fn counter<'a>(
        &mut self,
        name: &str,
        total: u64,
        attributes: impl Iterator<Item = &'a KeyValue>,
        extra: Option<(&str, &str)>,
    ) {
        let tags = tags(attributes, extra);
        let delta = self.totals.delta(self.identity.component, name, &tags, total);
        self.envelope(&tags, |writer| {
            writer.counter(name, delta, total);
        });
    }

    pub(crate) fn gauge<'a>(
        &mut self,
        name: &str,
        unit: &str,
        value: f64,
        attributes: impl Iterator<Item = &'a KeyValue>,
    ) {
        let mut tags = tags(attributes, None);
        let prefix = tags.iter().position(|(key, _)| key == NAME_PREFIX);
        let prefixed = prefix.map(|index| format!("{}.{name}", tags.remove(index).1));
        let name = prefixed.as_deref().unwrap_or(name);
        self.envelope(&tags, |writer| {
            writer.gauge(&[(name, unit, value)]);
        });
    }

    fn envelope(&mut self, tags: &Tags, write: impl FnOnce(&mut Writer<'_>)) {
        let Self {
            builder,
            identity,
            origin,
            instance_id,
            timestamp,
            ..
        } = self;
        builder.push_with(|out| {
            let mut writer = Writer::new(out);
            writer
                .timestamp(*timestamp)
                .source_id(identity.metrics_source)
                .instance_id(instance_id)
                .tag("origin", origin)
                .tag("component", identity.component)
                .tag("metric_version", METRIC_VERSION);
            writer.tags(tags.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            write(&mut writer);
        });
    }
}

fn tags<'a>(attributes: impl Iterator<Item = &'a KeyValue>, extra: Option<(&str, &str)>) -> Tags {
    let mut tags: Tags = attributes
        .map(|attribute| (attribute.key.as_str().to_owned(), attribute.value.as_str().into_owned()))
        .chain(extra.map(|(key, value)| (key.to_owned(), value.to_owned())))
        .collect();
    tags.sort_unstable();
    tags
}

/// The number types of instruments.
pub(crate) trait Number: Copy {
    /// Returns the value for a gauge.
    fn as_f64(self) -> f64;
    /// Returns the value for a counter, or `None` if it is not a natural number.
    fn as_count(self) -> Option<u64>;
}

impl Number for u64 {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
    fn as_f64(self) -> f64 {
        self as f64
    }

    fn as_count(self) -> Option<u64> {
        Some(self)
    }
}

impl Number for i64 {
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
    fn as_f64(self) -> f64 {
        self as f64
    }

    fn as_count(self) -> Option<u64> {
        Self::try_into(self).ok()
    }
}

impl Number for f64 {
    fn as_f64(self) -> f64 {
        self
    }

    fn as_count(self) -> Option<u64> {
        None
    }
}
