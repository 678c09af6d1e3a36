//! The places that one kind of caller has at a port.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::PeerNetwork;
use super::place::Seat;

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Something is under way on each connection of the peer network's share.
    Address,
    /// Something is under way on each connection that could make room.
    Port,
}

impl Full {
    /// For the log.
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
    most: usize,
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
    pub(super) fn new(most: usize, per_address: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            per_address,
            seated: Mutex::default(),
        })
    }

    /// Gives `seat` a place. A network that has its share gives up its longest idle connection for it; a full pool gives
    /// up the longest idle connection of the network that holds most of all, if that is more than the newcomer's holds.
    pub(super) fn enter(&self, network: PeerNetwork, seat: &Arc<Seat>) -> Result<(), Full> {
        let mut seated = self.seated.lock();
        let own = seated.by_network.get(&network).map_or(0, Vec::len);
        if own >= self.per_address {
            if !seated.evict(|other, _| other == network) {
                return Err(Full::Address);
            }
        } else if seated.count >= self.most && !seated.evict(|other, held| held > own || other == network) {
            return Err(Full::Port);
        }
        seated.count += 1;
        seated.by_network.entry(network).or_default().push(Arc::clone(seat));
        Ok(())
    }

    /// Gives up the longest idle connection, whosever it is; whether there was one.
    pub(super) fn make_room(&self) -> bool {
        self.seated.lock().evict(|_, _| true)
    }

    /// Takes the place of `seat` back, unless it was given up before.
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
    /// Gives up an idle connection of a network that `may` lose one, asked with how many connections it holds: of the one
    /// that holds most, the longest idle.
    fn evict(&mut self, may: impl Fn(PeerNetwork, usize) -> bool) -> bool {
        let longest_idle = |seats: &[Arc<Seat>]| {
            let idle = seats.iter().enumerate();
            let idle = idle.filter_map(|(index, seat)| Some((seat.idle_since()?, index)));
            idle.min()
        };
        let candidates = self.by_network.iter().filter_map(|(network, seats)| {
            if !may(*network, seats.len()) {
                return None;
            }
            let (since, index) = longest_idle(seats)?;
            Some((seats.len(), std::cmp::Reverse(since), *network, index))
        });
        let chosen = candidates.max_by_key(|(held, since, ..)| (*held, *since));
        let Some((_, _, network, index)) = chosen else {
            return false;
        };
        self.remove(network, index).ask_to_leave();
        true
    }

    fn remove(&mut self, network: PeerNetwork, index: usize) -> Arc<Seat> {
        let seats = self.by_network.get_mut(&network).expect("the network has a seat");
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

    /// A network that has its share gives up its own longest idle connection, and nobody else's; what is under way stays.
    #[tokio::test(start_paused = true)]
    async fn a_share_makes_room_for_itself() {
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

    /// A full pool gives up the longest idle connection of whoever holds most, for who holds less; the crowd gains nothing
    /// by coming again, and leaving twice gives nothing back.
    #[tokio::test(start_paused = true)]
    async fn the_crowd_makes_room_for_others() {
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

    /// Nobody who holds as much as the newcomer loses a place to it.
    #[tokio::test(start_paused = true)]
    async fn equals_keep_their_places() {
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
