//! Shard groups: subscriptions that share the envelopes of one selector.

use rand::Rng;
use rand::rngs::SmallRng;
use weir_envelope::batch::RawEnvelope;

use crate::hash;

/// The subscriptions that share the envelopes of a selector. A subscription without a shard id is alone in its group.
#[derive(Debug)]
pub(crate) struct Group {
    /// The indexes of the members in the table's list of subscriptions, sorted by deterministic name if there is one.
    members: Vec<usize>,
    deterministic: bool,
}

impl Group {
    /// Creates a group from the deterministic names and the indexes of its members.
    pub(crate) fn new(mut members: Vec<(&str, usize)>) -> Self {
        let deterministic = members.iter().any(|(name, _)| !name.is_empty());
        // Every doppler must choose the same member, so the order must not depend on the order of the subscriptions.
        if deterministic {
            members.sort_unstable();
        }
        Self {
            members: members.into_iter().map(|(_, member)| member).collect(),
            deterministic,
        }
    }

    /// Returns the member that gets `envelope`, which the group's selector must match. Returns `None` if there are no
    /// members.
    #[inline]
    pub(crate) fn choose(&self, envelope: RawEnvelope<'_>, random: &mut SmallRng) -> Option<usize> {
        if let [member] = self.members[..] {
            return Some(member);
        }
        let members = self.members.len() as u64;
        // Without a hash, any member may get the envelope.
        let chosen = match self.deterministic.then(|| hash::deterministic(envelope)).flatten() {
            Some(hash) => hash % members,
            None => random.random_range(0..members),
        };
        self.members.get(usize::try_from(chosen).ok()?).copied()
    }
}
