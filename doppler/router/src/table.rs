//! An immutable index over all subscriptions.

use std::sync::Arc;

use ahash::AHashMap;
use rand::rngs::SmallRng;
use weir_envelope::batch::{Kind, RawEnvelope};
use weir_envelope::selector::Selector;
use weir_flow::FairQueue;

use crate::group::Group;
use crate::names;

/// One subscription as the table sees it.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) id: u64,
    pub(crate) queue: Arc<FairQueue>,
    pub(crate) durable: bool,
    pub(crate) shard_id: String,
    pub(crate) deterministic_name: String,
    pub(crate) selectors: Vec<Selector>,
}

/// The groups of one source id and kind.
#[derive(Debug, Default)]
struct Groups {
    /// The groups that ask for all names.
    all: Vec<Group>,
    /// The groups that ask for certain names. `None` if there are none, so that the names of envelopes need not be
    /// read.
    named: Option<Box<ByNames>>,
}

/// Groups by the key of the names that they ask for.
type ByNames = AHashMap<Box<[u8]>, Vec<Group>>;

/// Groups by the kind that they ask for.
type ByKind = [Groups; Kind::ALL.len()];

/// The index. Routing an envelope takes one look at the groups that match any source and name, one look-up of the
/// source id, and one look-up of the names if any group of the source asks for names. So the cost depends on how often
/// the envelope is delivered and not on how many other subscriptions there are.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) subscribers: Vec<Arc<Subscriber>>,
    any_source: ByKind,
    by_source: AHashMap<Box<[u8]>, ByKind>,
}

/// What the members of a group share: selector, shard id, and a number that separates subscriptions without a shard id.
type GroupKey<'a> = (&'a Selector, &'a str, u64);

impl Table {
    pub(crate) fn new(subscribers: Vec<Arc<Subscriber>>) -> Self {
        // Without a shard id, the subscription's own id makes the key unique, so it is alone in its group.
        let mut groups: AHashMap<GroupKey<'_>, Vec<(&str, usize)>> = AHashMap::new();
        for (position, subscriber) in subscribers.iter().enumerate() {
            let alone = if subscriber.shard_id.is_empty() {
                subscriber.id
            } else {
                0
            };
            for selector in &subscriber.selectors {
                let members = groups.entry((selector, &subscriber.shard_id, alone)).or_default();
                let member = (subscriber.deterministic_name.as_str(), position);
                // A selector that a subscription repeats counts once.
                if members.last() != Some(&member) {
                    members.push(member);
                }
            }
        }
        let mut any_source = ByKind::default();
        let mut by_source: AHashMap<Box<[u8]>, ByKind> = AHashMap::new();
        for ((selector, ..), members) in groups {
            // An empty source id in a selector means all sources (logging §8).
            let of_source = if selector.source_id.is_empty() {
                &mut any_source
            } else {
                by_source.entry(selector.source_id.as_bytes().into()).or_default()
            };
            let groups = &mut of_source[selector.kind().index()];
            let of_names = match names::of_selector(&selector.payload) {
                None => &mut groups.all,
                Some(key) => groups.named.get_or_insert_default().entry(key).or_default(),
            };
            of_names.push(Group::new(members));
        }
        Self {
            subscribers,
            any_source,
            by_source,
        }
    }

    /// Calls `deliver` with the index of each subscriber that gets `envelope`.
    #[inline]
    pub(crate) fn route(&self, envelope: RawEnvelope<'_>, random: &mut SmallRng, mut deliver: impl FnMut(usize)) {
        let kind = envelope.kind().index();
        self.any_source[kind].route(envelope, random, &mut deliver);
        // Most stacks have subscriptions for all sources only. They need no look-up by source.
        if self.by_source.is_empty() {
            return;
        }
        if let Some(groups) = self.by_source.get(envelope.source_id_bytes()) {
            groups[kind].route(envelope, random, &mut deliver);
        }
    }
}

impl Groups {
    #[inline]
    fn route(&self, envelope: RawEnvelope<'_>, random: &mut SmallRng, deliver: &mut impl FnMut(usize)) {
        let mut to_one_of_each = |groups: &[Group]| {
            for group in groups {
                if let Some(member) = group.choose(envelope, random) {
                    deliver(member);
                }
            }
        };
        to_one_of_each(&self.all);
        if let Some(named) = &self.named
            && let Some(groups) = names::of_envelope(envelope, |key| named.get(key))
        {
            to_one_of_each(groups);
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_envelope::selector::PayloadFilter;
    use weir_flow::Capacity;

    use super::*;

    /// How many names of a source are asked for does not matter to its envelopes: each name has its own groups, which only
    /// an envelope with that name looks at.
    #[test]
    fn groups_stand_under_their_names() {
        let named = |number: u32| Selector {
            source_id: "c".to_owned(),
            payload: PayloadFilter::Counter(Some(format!("counter-{number}"))),
        };
        let capacity = Capacity { envelopes: 1, bytes: 1 };
        let table = Table::new(vec![Arc::new(Subscriber {
            id: 0,
            queue: Arc::new(FairQueue::new(capacity)),
            durable: false,
            shard_id: String::new(),
            deterministic_name: String::new(),
            selectors: (0..10_000).map(named).collect(),
        })]);
        let groups = &table.by_source[b"c".as_slice()][Kind::Counter.index()];
        let named = groups.named.as_ref().expect("groups with names");
        assert!(groups.all.is_empty());
        assert_eq!(named.len(), 10_000);
        assert!(named.values().all(|groups| groups.len() == 1) && !named.contains_key(b"other".as_slice()));
    }
}
