//! Who wants what: an immutable index over all subscriptions.

use std::sync::Arc;

use ahash::AHashMap;
use rand::rngs::SmallRng;
use weir_envelope::batch::{Kind, RawEnvelope};
use weir_envelope::selector::Selector;
use weir_flow::FairQueue;

use crate::group::Group;
use crate::names;

/// One subscription, as the table sees it.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) id: u64,
    pub(crate) queue: Arc<FairQueue>,
    pub(crate) durable: bool,
    pub(crate) shard_id: String,
    pub(crate) deterministic_name: String,
    pub(crate) selectors: Vec<Selector>,
}

/// The groups of one source and kind.
#[derive(Debug, Default)]
struct Groups {
    /// Those that take every name.
    all: Vec<Group>,
    /// Those that ask for names, by the key of these; `None` if there are none, which costs an envelope no look inside.
    named: Option<Box<ByNames>>,
}

/// Groups by the key of the names that they ask for.
type ByNames = AHashMap<Box<[u8]>, Vec<Group>>;

/// Groups by the kind that they ask for.
type ByKind = [Groups; Kind::ALL.len()];

/// The index. An envelope is matched by a look at the groups of its kind without a source id and without names, one
/// look-up of its source id, and one of its names where somebody asks for some: it costs what it is delivered, and not
/// what others have subscribed to.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) subscribers: Vec<Arc<Subscriber>>,
    any_source: ByKind,
    by_source: AHashMap<Box<[u8]>, ByKind>,
}

/// PayloadFilter members of a group have in common: selector, shard id, and a number that keeps those without a shard id apart.
type GroupKey<'a> = (&'a Selector, &'a str, u64);

impl Table {
    pub(crate) fn new(subscribers: Vec<Arc<Subscriber>>) -> Self {
        // Members by group key; without a shard id the subscription's own number keeps it apart.
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
                // A selector that a subscription repeats counts once: then the last member is itself.
                if members.last() != Some(&member) {
                    members.push(member);
                }
            }
        }
        let mut any_source = ByKind::default();
        let mut by_source: AHashMap<Box<[u8]>, ByKind> = AHashMap::new();
        for ((selector, ..), members) in groups {
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

    /// Calls `deliver` with each subscriber that gets `envelope`.
    #[inline]
    pub(crate) fn route(&self, envelope: RawEnvelope<'_>, random: &mut SmallRng, mut deliver: impl FnMut(usize)) {
        let kind = envelope.kind().index();
        self.any_source[kind].route(envelope, random, &mut deliver);
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
