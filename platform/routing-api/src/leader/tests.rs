//! The lock on every kind of database.

use futures::FutureExt as _;
use weir_db::servers::{Kind, Server};
use weir_service::ManualClock;

use super::*;

const TTL: Duration = Duration::from_secs(15);

/// Instances over one database, whose clock is moved by hand.
struct Instances {
    db: Database,
    clock: Clock,
    hands: ManualClock,
}

impl Instances {
    async fn of(server: &Server) -> Self {
        let url = server.database().await;
        let (hands, clock) = Clock::manual(0);
        let db = crate::store::open(&url).await.unwrap();
        Self { db, clock, hands }
    }

    fn start(&self, name: &str) -> Lease {
        Lease::new(self.db.clone(), self.clock.clone(), name, TTL)
    }
}

/// One instance holds the lock for as long as it gives signs of life; another one takes it when there were none for the time
/// to live, or at once when it was given up, and the first one notices.
async fn one_holds(server: &Server) {
    let instances = Instances::of(server).await;
    let (a, b) = (instances.start("a"), instances.start("b"));
    assert!(a.take().await && !b.take().await);
    for _ in 0..3 {
        instances.hands.advance(TTL * 2 / 3);
        assert!(a.renew().await.unwrap());
        assert!(!b.take().await);
    }
    instances.hands.advance(TTL - Duration::from_millis(1));
    assert!(!b.take().await);
    instances.hands.advance(Duration::from_millis(1));
    assert!(b.take().await);
    assert!(!a.renew().await.unwrap());
    assert!(!a.take().await);
    assert!(!a.has_successor().now_or_never().unwrap_or_default() || b.renew().await.unwrap());
    b.give_up().await;
    assert!(!b.has_successor().await);
    assert!(a.take().await && b.has_successor().await);
    assert!(!b.renew().await.unwrap());
}

/// An instance that was killed has its lock again at once when it starts. If the other one of its name lives after all, that
/// one waits as any other does, and the two do not take the lock from each other in turns.
async fn a_name_is_an_instance(server: &Server) {
    let instances = Instances::of(server).await;
    let first = instances.start("a");
    assert!(first.take().await);
    let second = instances.start("a");
    assert!(second.take().await);
    assert!(!first.renew().await.unwrap());
    assert!(!first.take().await && !first.take().await);
    assert!(second.renew().await.unwrap());
}

/// Of many that try at the same moment one gets the lock.
async fn one_wins(server: &Server) {
    let instances = Instances::of(server).await;
    for round in 0..3 {
        let all: Vec<Lease> = (0..8).map(|name| instances.start(&format!("{round}-{name}"))).collect();
        let taken = futures::future::join_all(all.iter().map(Leader::take)).await;
        let holders: Vec<usize> = (0..8).filter(|index| taken[*index]).collect();
        assert_eq!(holders.len(), 1, "{taken:?}");
        all[holders[0]].give_up().await;
    }
}

#[tokio::test]
async fn the_lock_is_one_instances() {
    for kind in [Kind::Sqlite, Kind::Postgres, Kind::MariaDb] {
        let Some(server) = Server::start(kind).await else {
            continue;
        };
        one_holds(&server).await;
        a_name_is_an_instance(&server).await;
        one_wins(&server).await;
    }
}

/// A holder whose lock is taken from it, or whose database is gone, counts the lock as lost.
#[tokio::test]
async fn a_lost_lock_is_noticed() {
    let server = Server::start(Kind::Sqlite).await.unwrap();
    let url = server.database().await;
    let db = crate::store::open(&url).await.unwrap();
    let short = |name| Lease::new(db.clone(), Clock::system(), name, Duration::from_millis(80));
    let (a, b) = (short("a"), short("a"));
    assert!(a.take().await && b.take().await);
    a.lost().await;
    assert_eq!(a.known.lock().term, None);
    db.close().await;
    b.lost().await;
    assert_eq!(b.known.lock().term, None);
}
