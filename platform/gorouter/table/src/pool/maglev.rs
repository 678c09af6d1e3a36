//! The table of consistent hashing, after Google's "Maglev: A Fast and Reliable Software Network Load Balancer".
//!
//! Each endpoint has a permutation of the table's slots, made from the hash of its id; in turn, each takes the first slot of
//! its permutation that is still free. When an endpoint goes, nearly all slots of the others stay as they are. Two routers
//! with the same endpoints have the same table.

use std::sync::Arc;

use crate::endpoint::Endpoint;

/// How many slots a table has: a prime number.
const SLOTS: usize = 1801;

/// Which endpoint each hash leads to.
#[derive(Debug)]
pub(super) struct Maglev {
    /// For each slot the position of an endpoint in its pool.
    slots: Box<[u32; SLOTS]>,
}

impl Maglev {
    /// The table of these endpoints. There must be one at least; of more than [`SLOTS`], the first by id have one slot each.
    pub(super) fn new(endpoints: &[Arc<Endpoint>]) -> Self {
        const FREE: u32 = u32::MAX;
        let mut order: Vec<_> = (0..endpoints.len()).collect();
        order.sort_unstable_by_key(|&position| (id(&endpoints[position]), endpoints[position].address()));
        order.truncate(SLOTS);
        let mut permutations: Vec<_> = order.iter().map(|&at| Permutation::of(id(&endpoints[at]))).collect();
        let mut slots = Box::new([FREE; SLOTS]);
        let mut taken = 0;
        while taken < SLOTS && !order.is_empty() {
            for (permutation, &position) in permutations.iter_mut().zip(&order) {
                let slot = permutation.find(|&slot| slots[slot] == FREE);
                let (Some(slot), Ok(position)) = (slot, u32::try_from(position)) else {
                    continue;
                };
                slots[slot] = position;
                taken += 1;
                if taken == SLOTS {
                    break;
                }
            }
        }
        Self { slots }
    }

    /// The positions of endpoints that `key` leads to, the best first, each perhaps several times.
    pub(super) fn walk(&self, key: &str) -> impl Iterator<Item = usize> {
        let slots = SLOTS as u64;
        let first = usize::try_from(fnv1a(key) % slots).unwrap_or_default();
        let (before, after) = self.slots.split_at(first);
        after.iter().chain(before).map(|&position| position as usize)
    }
}

/// What an endpoint is known by: the id of its instance, or its address if it has none.
fn id(endpoint: &Endpoint) -> &str {
    match endpoint.instance_id() {
        "" => endpoint.address(),
        id => id,
    }
}

/// The order in which an endpoint takes slots.
struct Permutation {
    next: usize,
    skip: usize,
    left: usize,
}

impl Permutation {
    fn of(id: &str) -> Self {
        let hash = fnv1a(id);
        let below = |limit: usize| usize::try_from(hash % limit as u64).unwrap_or_default();
        Self {
            next: below(SLOTS),
            skip: below(SLOTS - 1) + 1,
            left: SLOTS,
        }
    }
}

impl Iterator for Permutation {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let slot = self.next;
        self.next = (slot + self.skip) % SLOTS;
        Some(slot)
    }
}

/// The hash FNV-1a with 64 bits.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Registration;
    use crate::endpoint::EndpointId;
    use crate::tags::TagPool;

    fn endpoints(ids: &[&str]) -> Vec<Arc<Endpoint>> {
        let tags = TagPool::default().share(&BTreeMap::new()).expect("they are short");
        let endpoint = |(number, id): (usize, &&str)| {
            let port = u16::try_from(number).expect("there are few");
            let registration = Registration {
                instance_id: id,
                ..Registration::plain("10.0.0.1", port)
            };
            let made = Endpoint::new(
                EndpointId::new(0),
                &registration,
                Arc::clone(&tags),
                std::time::Duration::ZERO,
                0,
            );
            Arc::new(made.expect("it is short"))
        };
        ids.iter().enumerate().map(endpoint).collect()
    }

    /// Values that the authors of FNV publish.
    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(fnv1a(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
    }

    /// Five endpoints have 360 or 361 slots each, and the same ones in whatever order they were registered.
    #[test]
    fn slots_are_shared_out_evenly_and_independently_of_the_order() {
        let ids = ["e", "a", "d", "b", "c"];
        let table = Maglev::new(&endpoints(&ids));
        let mut counts = [0; 5];
        for &position in table.slots.iter() {
            counts[position as usize] += 1;
        }
        assert!(counts.iter().all(|count| [360, 361].contains(count)), "{counts:?}");
        let mut sorted = ids;
        sorted.sort_unstable();
        let again = Maglev::new(&endpoints(&sorted));
        let same = table.slots.iter().zip(again.slots.iter());
        assert!(
            same.into_iter()
                .all(|(one, other)| ids[*one as usize] == sorted[*other as usize])
        );
    }

    /// No endpoint, one, and more than there are slots.
    #[test]
    fn any_number_of_endpoints_has_a_table() {
        assert!(Maglev::new(&[]).slots.iter().all(|slot| *slot == u32::MAX));
        assert!(Maglev::new(&endpoints(&["a"])).slots.iter().all(|slot| *slot == 0));
        let ids: Vec<_> = (0..2_000).map(|number| format!("{number:04}")).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        let table = Maglev::new(&endpoints(&ids));
        let mut met: Vec<_> = table.slots.to_vec();
        met.sort_unstable();
        assert!(met.into_iter().eq(0..1801));
    }
}
