//! A pool: the places that one kind of caller has at a port.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::PeerNetwork;
use super::place::Seat;

/// Why a pool has no place for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The peer network has its share of connections, and none of them is idle.
    Address,
    /// All places are taken, and no connection that could make room is idle.
    Port,
}

impl Full {
    /// The reason as text for the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "the address uses all connections that one address may have",
            Self::Port => "the port uses all of its connections",
        }
    }
}

/// A bounded number of places, shared by peer networks.
#[derive(Debug)]
pub(super) struct Pool {
    capacity: usize,
    per_address: usize,
    seated: Mutex<Seated>,
}

/// Places that several ports have together. Clones are of one set of places.
#[derive(Debug, Clone)]
pub struct SharedPlaces(Arc<Pool>);

impl SharedPlaces {
    /// So many places for connections, and so many of them for one peer network.
    #[must_use]
    pub fn new(connections: usize, per_address: usize) -> Self {
        Self(Pool::new(connections, per_address))
    }

    pub(super) fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.0)
    }
}

#[derive(Debug, Default)]
struct Seated {
    count: usize,
    by_network: HashMap<PeerNetwork, Vec<Arc<Seat>>>,
}

impl Pool {
    pub(super) fn new(capacity: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity,
            per_address,
            seated: Mutex::default(),
        })
    }

    /// Gives `seat` a place. A network that has its share loses its longest idle connection to the new one. A full pool
    /// takes the place from the network that holds the most connections, if those are more than the connections of
    /// `network`, or from `network` itself.
    pub(super) fn enter(&self, network: PeerNetwork, seat: &Arc<Seat>) -> Result<(), Full> {
        let mut seated = self.seated.lock();
        let own = seated.by_network.get(&network).map_or(0, Vec::len);
        if own >= self.per_address {
            if !seated.evict(|other, _| other == network) {
                return Err(Full::Address);
            }
        // Only a network that holds more has to make room. Otherwise two networks of equal size could take each other's
        // places for ever.
        } else if seated.count >= self.capacity && !seated.evict(|other, held| held > own || other == network) {
            return Err(Full::Port);
        }
        seated.count += 1;
        seated.by_network.entry(network).or_default().push(Arc::clone(seat));
        Ok(())
    }

    /// Asks the longest idle connection of the network that holds the most to leave. Returns whether one was idle.
    pub(super) fn make_room(&self) -> bool {
        self.seated.lock().evict(|_, _| true)
    }

    /// Frees the place of `seat`, unless it was evicted before.
    pub(super) fn leave(&self, network: PeerNetwork, seat: &Arc<Seat>) {
        let mut seated = self.seated.lock();
        let seats = seated.by_network.get(&network);
        // From the end, where the connections are that came last: most of them are short.
        if let Some(index) = seats.and_then(|seats| seats.iter().rposition(|other| Arc::ptr_eq(other, seat))) {
            seated.remove(network, index);
        }
    }
}

impl Seated {
    /// Evicts the longest idle connection of the network that holds the most, among those networks for which `may_lose`
    /// is true. `may_lose` is asked with the number of connections that the network holds. Returns whether one was
    /// evicted.
    fn evict(&mut self, may_lose: impl Fn(PeerNetwork, usize) -> bool) -> bool {
        let longest_idle = |seats: &[Arc<Seat>]| {
            let idle = seats.iter().enumerate();
            let idle = idle.filter_map(|(index, seat)| Some((seat.idle_since()?, index)));
            idle.min()
        };
        let candidates = self.by_network.iter().filter_map(|(network, seats)| {
            if !may_lose(*network, seats.len()) {
                return None;
            }
            let (since, index) = longest_idle(seats)?;
            Some((seats.len(), std::cmp::Reverse(since), *network, index))
        });
        // Between networks that hold equally many, the longest idle connection decides.
        let chosen = candidates.max_by_key(|(held, since, ..)| (*held, *since));
        let Some((_, _, network, index)) = chosen else {
            return false;
        };
        // The place counts as free at once, although the connection is still there until its reader has seen that it
        // ended.
        self.remove(network, index).ask_to_leave();
        true
    }

    fn remove(&mut self, network: PeerNetwork, index: usize) -> Arc<Seat> {
        let seats = self.by_network.get_mut(&network).expect("the network has a seat");
        // The order of the seats has no meaning, because idle times decide.
        let seat = seats.swap_remove(index);
        if seats.is_empty() {
            self.by_network.remove(&network);
        }
        self.count -= 1;
        seat
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use super::*;

    fn network(number: u8) -> PeerNetwork {
        IpAddr::from([127, 0, 0, number]).into()
    }

    /// Takes a place for a connection of network `number`, a little after all that was seated before.
    async fn enter(pool: &Pool, number: u8) -> Result<Arc<Seat>, Full> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let seat = Arc::<Seat>::default();
        pool.enter(network(number), &seat).map(|()| seat)
    }

    /// A network that has its share loses its own longest idle connection and nobody else's. A connection with a
    /// request under way stays.
    #[tokio::test(start_paused = true)]
    async fn a_network_with_its_share_loses_its_own_connection() {
        let pool = Pool::new(4, 2);
        let other = enter(&pool, 2).await.expect("a place");
        let [first, second] = [enter(&pool, 1).await, enter(&pool, 1).await].map(|seat| seat.expect("a place"));
        first.begin();
        let third = enter(&pool, 1).await.expect("the place of the second");
        assert!(second.is_leaving() && !first.is_leaving() && !other.is_leaving());
        third.begin();
        assert_eq!(enter(&pool, 1).await.unwrap_err(), Full::Address);
        first.end();
        enter(&pool, 1).await.expect("the place of the first");
        assert!(first.is_leaving() && !third.is_leaving() && !other.is_leaving());
    }

    /// A full pool evicts the longest idle connection of the network that holds the most, for a network that holds
    /// less. An evicted client that connects again takes a place of its own network, and a seat that leaves twice frees
    /// one place.
    #[tokio::test(start_paused = true)]
    async fn the_largest_network_makes_room_for_others() {
        let pool = Pool::new(4, 3);
        let single = enter(&pool, 2).await.expect("a place");
        let mut crowd = Vec::new();
        for _ in 0..3 {
            crowd.push(enter(&pool, 1).await.expect("a place"));
        }
        let newcomer = enter(&pool, 3).await.expect("a place of the crowd");
        assert!(crowd[0].is_leaving() && !single.is_leaving());
        pool.leave(network(1), &crowd[0]);
        enter(&pool, 1).await.expect("the crowd's own place");
        assert!(crowd[1].is_leaving() && !single.is_leaving() && !newcomer.is_leaving());
        for seat in [&single, &newcomer] {
            seat.begin();
        }
        enter(&pool, 4).await.expect("the third place of the crowd");
        assert!(crowd[2].is_leaving());
    }

    /// A network that holds as many connections as the newcomer's loses none to it.
    #[tokio::test(start_paused = true)]
    async fn networks_of_equal_size_keep_their_places() {
        let pool = Pool::new(2, 2);
        let [one, two] = [enter(&pool, 1).await, enter(&pool, 2).await].map(|seat| seat.expect("a place"));
        one.begin();
        assert!(enter(&pool, 1).await.is_err());
        assert!(!two.is_leaving());
        assert!(pool.make_room());
        assert!(two.is_leaving() && !one.is_leaving());
        assert!(!pool.make_room());
        pool.leave(network(1), &one);
        pool.leave(network(1), &one);
        assert_eq!(pool.seated.lock().count, 0);
        assert!(pool.seated.lock().by_network.is_empty());
    }
}
