//! Who wants what: an immutable index over all subscriptions.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::AHashMap;
use rand::rngs::SmallRng;
use weir_envelope::batch::{Kind, RawEnvelope};
use weir_envelope::selector::Selector;
use weir_flow::FairQueue;

use crate::group::Group;

/// One subscription, as the table sees it.
#[derive(Debug, Clone)]
pub(crate) struct Subscriber {
    pub(crate) id: u64,
    pub(crate) queue: Arc<FairQueue>,
    pub(crate) durable: bool,
    pub(crate) shard_id: String,
    pub(crate) deterministic_name: String,
    pub(crate) selectors: Vec<Selector>,
}

/// Groups by the kind that they ask for.
type ByKind = [Vec<Group>; Kind::ALL.len()];

/// The index. An envelope is matched by one look at the groups without a source id, and one look-up of its source id,
/// however many subscriptions there are.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) subscribers: Vec<Subscriber>,
    any_source: ByKind,
    by_source: AHashMap<Box<[u8]>, ByKind>,
}

/// What members of a group have in common: selector, shard id, and a number that keeps those without a shard id apart.
type GroupKey<'a> = (&'a Selector, &'a str, u64);

impl Table {
    pub(crate) fn new(subscribers: Vec<Subscriber>) -> Self {
        // Members by group key; without a shard id the subscription's own number keeps it apart.
        let mut groups: BTreeMap<GroupKey<'_>, Vec<(String, usize)>> = BTreeMap::new();
        for (position, subscriber) in subscribers.iter().enumerate() {
            let alone = if subscriber.shard_id.is_empty() {
                subscriber.id
            } else {
                0
            };
            for selector in &subscriber.selectors {
                let members = groups.entry((selector, &subscriber.shard_id, alone)).or_default();
                let member = (subscriber.deterministic_name.clone(), position);
                if !members.contains(&member) {
                    members.push(member);
                }
            }
        }
        let mut any_source = ByKind::default();
        let mut by_source: AHashMap<Box<[u8]>, ByKind> = AHashMap::new();
        for ((selector, ..), members) in groups {
            let group = Group::new(selector.clone(), members);
            let kind = group.selector().kind().index();
            if selector.source_id.is_empty() {
                any_source[kind].push(group);
            } else {
                by_source.entry(selector.source_id.as_bytes().into()).or_default()[kind].push(group);
            }
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
        for group in &self.any_source[kind] {
            if let Some(member) = group.choose(envelope, random) {
                deliver(member);
            }
        }
        if self.by_source.is_empty() {
            return;
        }
        if let Some(groups) = self.by_source.get(envelope.source_id_bytes()) {
            for group in &groups[kind] {
                if let Some(member) = group.choose(envelope, random) {
                    deliver(member);
                }
            }
        }
    }
}
