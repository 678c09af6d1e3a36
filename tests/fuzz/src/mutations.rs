//! Bytes that are nearly a seed: what a fuzzer would try first, in an order that never changes.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::seeds::Seeds;

/// Bytes at which readers have their limits.
const INTERESTING: [u8; 16] = [
    0, 1, 0x7f, 0x80, 0xff, b'\n', b' ', b'%', b'&', b'=', b'"', b'\'', b'\\', b'(', b']', b'{',
];

/// Most places at which a seed is changed.
const CHANGES: usize = 4;

/// Changed seeds, without end. The first one is always followed by the same second one, so that a failure can be repeated.
pub fn of(seeds: &Seeds) -> impl Iterator<Item = Vec<u8>> {
    let mut random = StdRng::seed_from_u64(0);
    std::iter::from_fn(move || {
        let mut bytes = any(seeds, &mut random).to_vec();
        for _ in 0..random.random_range(1..=CHANGES) {
            change(&mut bytes, seeds, &mut random);
        }
        Some(bytes)
    })
}

fn any<'a>(seeds: &'a Seeds, random: &mut StdRng) -> &'a [u8] {
    seeds
        .get(random.random_range(0..seeds.len().max(1)))
        .map_or(&[], |(_, bytes)| bytes)
}

/// Changes bytes at one place: one of them, or a stretch that goes, comes twice, or comes from another seed.
fn change(bytes: &mut Vec<u8>, seeds: &Seeds, random: &mut StdRng) {
    let start = random.random_range(0..=bytes.len());
    let end = random.random_range(start..=bytes.len());
    match random.random_range(0..7) {
        0 => bytes.truncate(start),
        1 => drop(bytes.drain(start..end)),
        2 => {
            let stretch = bytes[start..end].to_vec();
            bytes.splice(start..start, stretch);
        }
        3 => {
            let other = any(seeds, random);
            let from = random.random_range(0..=other.len());
            bytes.splice(start..end, other[from..].iter().copied());
        }
        4 => bytes.insert(start, INTERESTING[random.random_range(0..INTERESTING.len())]),
        5 if start < bytes.len() => bytes[start] = INTERESTING[random.random_range(0..INTERESTING.len())],
        _ if start < bytes.len() => bytes[start] ^= 1 << random.random_range(0..8),
        _ => bytes.push(random.random()),
    }
}
