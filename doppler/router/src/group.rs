//! Shard groups: subscriptions that share the envelopes of one selector.

use rand::Rng;
use rand::rngs::SmallRng;
use weir_envelope::batch::RawEnvelope;
use weir_envelope::selector::Selector;

use crate::hash;

/// The subscriptions that share what `selector` selects; a subscription without a shard id is alone in its group.
#[derive(Debug)]
pub(crate) struct Group {
    selector: Selector,
    /// Positions in the table's list of subscriptions, ordered by deterministic name if there is one.
    members: Vec<usize>,
    deterministic: bool,
    /// Whether the selector has a name filter, which costs a look into the envelope.
    named: bool,
}

impl Group {
    pub(crate) fn new(selector: Selector, mut members: Vec<(String, usize)>) -> Self {
        let deterministic = members.iter().any(|(name, _)| !name.is_empty());
        if deterministic {
            members.sort();
        }
        let named = match &selector.what {
            weir_envelope::selector::What::Counter(name) => name.is_some(),
            weir_envelope::selector::What::Gauge(names) => !names.is_empty(),
            _ => false,
        };
        Self {
            selector,
            members: members.into_iter().map(|(_, member)| member).collect(),
            deterministic,
            named,
        }
    }

    pub(crate) const fn selector(&self) -> &Selector {
        &self.selector
    }

    /// Who gets `envelope`, whose kind and source are right; `None` if its name is not what the group asks for.
    #[inline]
    pub(crate) fn choose(&self, envelope: RawEnvelope<'_>, random: &mut SmallRng) -> Option<usize> {
        if self.named && !self.selector.name_matches(envelope) {
            return None;
        }
        if let [member] = self.members[..] {
            return Some(member);
        }
        let members = self.members.len() as u64;
        let chosen = match self.deterministic.then(|| hash::deterministic(envelope)).flatten() {
            Some(hash) => hash % members,
            None => random.random_range(0..members),
        };
        self.members.get(usize::try_from(chosen).ok()?).copied()
    }
}
