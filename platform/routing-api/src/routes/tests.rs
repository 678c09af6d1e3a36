//! Changes of routes on every kind of database.

use std::time::Duration;

use futures::FutureExt as _;
use weir_db::servers::{Kind, Server};
use weir_routing_api_client::models::{Route, TcpRoute};
use weir_service::{Context, ManualClock};

use super::*;
use crate::hub::Subscription;

/// The routes of one kind in a database of their own, with a subscription and a clock that is moved by hand.
struct Bench<E> {
    routes: Routes<E>,
    events: Subscription,
    hands: ManualClock,
}

impl<E: Entry> Bench<E> {
    async fn of(server: &Server) -> Self {
        let url = server.database().await;
        let (hands, clock) = Clock::manual(1_700_000_000_000_000_000);
        let db = crate::store::open(&url).await.unwrap();
        let (_trigger, context) = Context::new("routing-api");
        let routes = Routes::new(db, clock, context.tasks);
        let events = routes.hub.subscribe();
        Self { routes, events, hands }
    }

    fn passes(&self, seconds: u64) {
        self.hands.advance(Duration::from_secs(seconds));
    }

    async fn upsert(&mut self, route: &E) -> Vec<(Action, E)> {
        self.routes.upsert(vec![route.clone()]).await.unwrap();
        self.announced()
    }

    /// What was announced since the last call.
    fn announced(&mut self) -> Vec<(Action, E)> {
        let mut all = Vec::new();
        while let Some(Some(announcement)) = self.events.next().now_or_never() {
            let route = serde_json::from_slice(&announcement.route).unwrap();
            all.push((announcement.action, route));
        }
        all
    }

    async fn all(&self) -> Vec<E> {
        self.routes.all().await.unwrap()
    }
}

fn route(ttl: i64) -> Route {
    Route {
        route: "a.example/path".to_owned(),
        port: 80,
        ip: "1.2.3.4".to_owned(),
        ttl: Some(ttl),
        log_guid: "app".to_owned(),
        ..Route::default()
    }
}

fn tcp() -> TcpRoute {
    TcpRoute {
        router_group_guid: "rg".to_owned(),
        port: 1024,
        backend_ip: "1.2.3.4".to_owned(),
        backend_port: 60_000,
        instance_id: "first".to_owned(),
        ttl: Some(60),
        ..TcpRoute::default()
    }
}

/// The index of the tag of the only route, and whether it was announced as that.
fn index(announced: &[(Action, Route)]) -> Option<u32> {
    match announced {
        [] => None,
        [(Action::Upsert, route)] => Some(route.modification_tag.index),
        other => panic!("{other:?}"),
    }
}

/// A refresh lets a route live on and raises its tag, but is announced only when half of its time has passed since routers
/// heard of it last; a change is announced at once.
async fn refreshes_are_announced_in_time(server: &Server) {
    let mut bench = Bench::of(server).await;
    assert_eq!(index(&bench.upsert(&route(120)).await), Some(0));
    for _ in 0..2 {
        bench.passes(20);
        assert_eq!(index(&bench.upsert(&route(120)).await), None);
    }
    assert_eq!(bench.all().await[0].modification_tag.index, 2);
    bench.passes(20);
    assert_eq!(index(&bench.upsert(&route(120)).await), Some(3));
    bench.passes(20);
    assert_eq!(index(&bench.upsert(&route(120)).await), None);
    assert_eq!(index(&bench.upsert(&route(60)).await), Some(5));
    let renamed = Route {
        log_guid: "other".to_owned(),
        ..route(60)
    };
    assert_eq!(index(&bench.upsert(&renamed).await), Some(6));
    // What a registration leaves open stays.
    let open = Route {
        log_guid: String::new(),
        ..route(60)
    };
    assert_eq!(index(&bench.upsert(&open).await), None);
    let all = bench.all().await;
    assert_eq!(
        (all.len(), all[0].log_guid.as_str(), all[0].modification_tag.index),
        (1, "other", 7)
    );
    // A clock that is set back holds nothing up.
    bench.hands.set_wall(1_600_000_000_000_000_000);
    assert_eq!(index(&bench.upsert(&open).await), Some(8));
}

/// A route ends with its time unless it was refreshed, and its end is announced with the tag that it had.
async fn routes_expire(server: &Server) {
    let mut bench = Bench::of(server).await;
    let (short, long) = (route(10), Route { port: 81, ..route(20) });
    bench.routes.upsert(vec![short.clone(), long.clone()]).await.unwrap();
    assert_eq!(bench.announced().len(), 2);
    bench.passes(9);
    bench.upsert(&short).await;
    assert_eq!(bench.routes.expire().await.unwrap(), 0);
    bench.passes(10);
    assert_eq!((bench.all().await.len(), bench.routes.count().await.unwrap()), (1, 1));
    bench.announced();
    assert_eq!(bench.routes.expire().await.unwrap(), 1);
    let announced = bench.announced();
    assert_eq!((announced.len(), announced[0].0), (1, Action::Delete));
    assert_eq!((announced[0].1.port, announced[0].1.modification_tag.index), (80, 1));
    bench.passes(1);
    assert_eq!(bench.routes.expire().await.unwrap(), 1);
    assert!(bench.all().await.is_empty());
    assert_eq!(bench.routes.expire().await.unwrap(), 0);
}

/// A route that is removed is announced; one that is not there is passed over. What comes after it is another entry.
async fn routes_are_removed(server: &Server) {
    let mut bench = Bench::of(server).await;
    bench.upsert(&route(60)).await;
    let first = bench.all().await.remove(0).modification_tag.guid;
    let unknown = Route { port: 99, ..route(60) };
    bench.routes.delete(vec![unknown, route(1)]).await.unwrap();
    let announced = bench.announced();
    assert_eq!((announced.len(), announced[0].0), (1, Action::Delete));
    assert_eq!(announced[0].1.modification_tag.guid, first);
    let again = bench.upsert(&route(60)).await;
    assert_eq!(index(&again), Some(0));
    assert_ne!(again[0].1.modification_tag.guid, first);
}

/// Another instance behind the same address and ports takes the place of the one before: routers are told to drop that one.
async fn an_instance_takes_the_place_of_another(server: &Server) {
    let mut bench = Bench::of(server).await;
    bench.upsert(&tcp()).await;
    let second = TcpRoute {
        instance_id: "second".to_owned(),
        ..tcp()
    };
    let announced = bench.upsert(&second).await;
    let told: Vec<_> = announced
        .iter()
        .map(|(action, route)| (*action, route.instance_id.as_str()))
        .collect();
    assert_eq!(told, [(Action::Delete, "first"), (Action::Upsert, "second")]);
    let [old, new] = [0, 1].map(|index: usize| &announced[index].1.modification_tag);
    assert!(old.guid != new.guid && new.index == 0, "{announced:?}");
    assert_eq!(bench.all().await.len(), 1);
}

/// What differs in a part of the key is an entry of its own, also if there is only an empty name on one side.
async fn keys_tell_routes_apart(server: &Server) {
    let bench = Bench::of(server).await;
    let named = |name: &str| TcpRoute {
        backend_sni_hostname: Some(name.to_owned()),
        ..tcp()
    };
    let all = vec![
        tcp(),
        named(""),
        named("a.example"),
        TcpRoute { port: 1025, ..tcp() },
        TcpRoute {
            backend_port: 1,
            ..tcp()
        },
        TcpRoute {
            backend_tls_port: 1,
            ..tcp()
        },
        TcpRoute {
            backend_ip: "::1".to_owned(),
            ..tcp()
        },
        TcpRoute {
            router_group_guid: "r".to_owned(),
            ..tcp()
        },
        TcpRoute {
            enable_backend_mtls: true,
            ..tcp()
        },
    ];
    bench.routes.upsert(all.clone()).await.unwrap();
    bench.routes.upsert(all.clone()).await.unwrap();
    assert_eq!(bench.all().await.len(), all.len());
    let frontend = named("a.example").frontend().unwrap();
    assert_eq!(bench.routes.at_frontend(&frontend).await.unwrap().len(), 1);
}

/// If one route of a request cannot be kept, none is, and nothing is announced.
async fn a_request_is_kept_whole_or_not_at_all(server: &Server) {
    let mut bench = Bench::of(server).await;
    bench.upsert(&route(60)).await;
    let damaged = Route { port: 81, ..route(60) };
    let insert = weir_db::sql(
        "insert into routing_http_routes (entry_key, content, tag_guid, tag_index, expires_at, announced_at) \
         values (?, 'no route', '', 0, 0, 0)",
    );
    bench.routes.db.execute(insert.bind(damaged.key())).await.unwrap();
    let renamed = Route {
        log_guid: "other".to_owned(),
        ..route(60)
    };
    assert!(bench.routes.upsert(vec![renamed, damaged]).await.is_err());
    assert_eq!(bench.all().await[0].log_guid, "app");
    assert!(bench.announced().is_empty());
}

/// Registrations at the same moment are announced in the order in which they count.
async fn events_are_in_order(server: &Server) {
    let mut bench = Bench::of(server).await;
    let names = 0..8;
    let changes = names.map(|name| {
        let route = Route {
            log_guid: name.to_string(),
            ..route(60)
        };
        bench.routes.upsert(vec![route])
    });
    for outcome in futures::future::join_all(changes).await {
        outcome.unwrap();
    }
    let announced = bench.announced();
    let indexes: Vec<u32> = announced
        .iter()
        .map(|(_, route)| route.modification_tag.index)
        .collect();
    assert_eq!(indexes, [0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(bench.all().await[0], announced[7].1);
}

#[tokio::test]
async fn routes_on_every_database() {
    for kind in [Kind::Sqlite, Kind::Postgres, Kind::MariaDb] {
        let Some(server) = Server::start(kind).await else {
            continue;
        };
        refreshes_are_announced_in_time(&server).await;
        routes_expire(&server).await;
        routes_are_removed(&server).await;
        an_instance_takes_the_place_of_another(&server).await;
        keys_tell_routes_apart(&server).await;
        a_request_is_kept_whole_or_not_at_all(&server).await;
        events_are_in_order(&server).await;
    }
}
