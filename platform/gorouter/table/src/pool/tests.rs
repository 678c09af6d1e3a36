use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Instance, Lease, NoEndpoint, Pool, Wanted};
use crate::{Balancing, Registration, Registry, TableSettings, ZonePreference};

const ROUTE: &str = "app.example.com";

/// A table with one route.
struct Table {
    registry: Registry,
    pool: Arc<Pool>,
    now: Instant,
}

impl Table {
    fn new(settings: TableSettings, registrations: &[Registration<'_>]) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a table takes any time; no test waits")]
        let now = Instant::now();
        let registry = Registry::new(settings, now);
        for registration in registrations {
            registry.register(ROUTE, registration, now);
        }
        let pool = registry.lookup(ROUTE, "/").expect("it is registered");
        Self { registry, pool, now }
    }

    fn plain(count: u16) -> Self {
        Self::new(TableSettings::default(), &plain(count))
    }

    fn select(&self, wanted: &Wanted<'_>) -> Result<Lease, NoEndpoint> {
        self.pool.select(wanted, self.now)
    }

    /// The port of the endpoint that such a request gets; the request is over then.
    fn port(&self, wanted: &Wanted<'_>) -> u16 {
        port(&self.select(wanted).expect("an endpoint"))
    }

    /// The ports that `count` requests get.
    fn ports(&self, count: usize, wanted: &Wanted<'_>) -> BTreeSet<u16> {
        (0..count).map(|_| self.port(wanted)).collect()
    }

    fn lease(&self, at: u16) -> Lease {
        let instance = at.to_string();
        let sticky = Some(instance.as_str());
        self.select(&Wanted {
            sticky,
            ..Wanted::default()
        })
        .expect("it is there")
    }
}

/// Endpoints at the ports 1 to `count`; each port is also the id of the instance.
fn plain(count: u16) -> Vec<Registration<'static>> {
    (1..=count).map(endpoint).collect()
}

fn endpoint(port: u16) -> Registration<'static> {
    const IDS: [&str; 6] = ["0", "1", "2", "3", "4", "5"];
    Registration {
        instance_id: IDS[usize::from(port)],
        ..Registration::plain("10.0.0.1", port)
    }
}

fn port(lease: &Lease) -> u16 {
    let (_, port) = lease.address().rsplit_once(':').expect("it has a port");
    port.parse().expect("a number")
}

fn settings(max_conns: u32) -> TableSettings {
    TableSettings {
        max_conns,
        ..TableSettings::default()
    }
}

/// Three endpoints: of six requests each gets two, in the same order.
#[test]
fn requests_go_round() {
    let table = Table::plain(3);
    let ports: Vec<_> = (0..6).map(|_| table.port(&Wanted::default())).collect();
    assert_eq!(ports[..3], ports[3..]);
    assert_eq!(ports.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2, 3]));
}

/// Three endpoints with two, one and two requests: the next goes to the second; once all have two, each gets its turn.
#[test]
fn the_endpoint_with_the_fewest_requests_is_chosen() {
    let balancing = Balancing::LeastConnection;
    let settings = TableSettings {
        balancing,
        ..TableSettings::default()
    };
    let table = Table::new(settings, &plain(3));
    let mut leases: Vec<_> = [1, 1, 2, 3, 3].map(|at| table.lease(at)).into();
    assert_eq!(table.port(&Wanted::default()), 2);
    leases.push(table.lease(2));
    assert_eq!(table.ports(3, &Wanted::default()), BTreeSet::from([1, 2, 3]));
}

/// A failed endpoint is left out for 30 seconds. If all have failed, all are tried again.
#[test]
fn failed_endpoints_are_skipped_for_a_while() {
    let mut table = Table::plain(2);
    let failed = Arc::clone(&table.lease(1));
    table.pool.failed(&failed, table.now);
    assert_eq!(table.ports(4, &Wanted::default()), BTreeSet::from([2]));
    table.now += Duration::from_secs(30);
    assert_eq!(table.ports(4, &Wanted::default()), BTreeSet::from([2]));
    table.now += Duration::from_millis(1);
    assert_eq!(table.ports(4, &Wanted::default()), BTreeSet::from([1, 2]));
    for at in [1, 2] {
        table.pool.failed(&Arc::clone(&table.lease(at)), table.now);
    }
    assert_eq!(table.ports(4, &Wanted::default()), BTreeSet::from([1, 2]));
}

/// A further attempt gets an endpoint that was not tried, even one that has failed, and a tried one if there is no other.
#[test]
fn a_further_attempt_gets_another_endpoint() {
    let table = Table::plain(3);
    let ids = [1, 2, 3].map(|at| table.lease(at).id());
    table.pool.failed(&Arc::clone(&table.lease(3)), table.now);
    let wanted = |tried| Wanted {
        attempt: 1,
        tried,
        ..Wanted::default()
    };
    assert_eq!(table.ports(4, &wanted(&ids[..1])), BTreeSet::from([2]));
    assert_eq!(table.ports(4, &wanted(&ids[..2])), BTreeSet::from([3]));
    assert_eq!(table.ports(6, &wanted(&ids)), BTreeSet::from([1, 2, 3]));
}

/// With one request for each endpoint at most: the third request of two endpoints gets none until one is over.
#[test]
fn no_endpoint_gets_more_requests_than_it_may() {
    let table = Table::new(settings(1), &plain(2));
    let first = table.select(&Wanted::default()).unwrap();
    let second = table.select(&Wanted::default()).unwrap();
    assert_ne!(first.address(), second.address());
    assert_eq!(table.select(&Wanted::default()).unwrap_err(), NoEndpoint::Overloaded);
    let free = port(&second);
    drop(second);
    assert_eq!(table.port(&Wanted::default()), free);
    assert_eq!(first.in_flight(), 1);
}

/// Many threads at once never exceed the limit of an endpoint.
#[test]
fn the_limit_holds_for_many_threads() {
    let table = Table::new(settings(3), &plain(2));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    if let Ok(lease) = table.select(&Wanted::default()) {
                        assert!(lease.in_flight() <= 3);
                    }
                }
            });
        }
    });
    assert!(table.pool.endpoints().iter().all(|endpoint| endpoint.in_flight() == 0));
}

/// A session stays with its instance on the first attempt, not on further ones, and not if the instance is full or gone,
/// unless it must.
#[test]
fn a_session_stays_with_its_instance() {
    let table = Table::new(settings(2), &plain(3));
    let sticky = Wanted {
        sticky: Some("2"),
        ..Wanted::default()
    };
    let must = Wanted {
        must_be_sticky: true,
        ..sticky
    };
    assert_eq!(table.ports(6, &sticky), BTreeSet::from([2]));
    assert_eq!(
        table.ports(6, &Wanted { attempt: 1, ..sticky }),
        BTreeSet::from([1, 2, 3])
    );
    assert_eq!(table.ports(6, &Wanted { attempt: 1, ..must }), BTreeSet::from([2]));
    let _leases = [table.lease(2), table.lease(2)];
    assert_eq!(table.ports(6, &sticky), BTreeSet::from([1, 3]));
    assert_eq!(table.select(&must).unwrap_err(), NoEndpoint::Overloaded);
    let gone = Some("9");
    assert_eq!(
        table.ports(6, &Wanted { sticky: gone, ..sticky }),
        BTreeSet::from([1, 3])
    );
    let error = table.select(&Wanted { sticky: gone, ..must }).unwrap_err();
    assert_eq!(error, NoEndpoint::UnknownInstance);
}

/// A request that names an instance gets no other, whether it has failed or not.
#[test]
fn a_named_instance_is_the_only_choice() {
    let tags = |process: &str| BTreeMap::from([("process_id".to_owned(), process.to_owned())]);
    let [web, worker] = [tags("web"), tags("worker")];
    let instance = |port, index, tags| Registration {
        app_id: "app",
        instance_index: index,
        tags,
        ..endpoint(port)
    };
    let endpoints = [
        instance(1, "0", &web),
        instance(2, "1", &web),
        instance(3, "0", &worker),
    ];
    let table = Table::new(settings(1), &endpoints);
    let named = |instance| Wanted {
        instance: Some(instance),
        ..Wanted::default()
    };
    let app = |id, index| named(Instance::App { id, index });
    let process = |id, index| named(Instance::Process { id, index });
    assert_eq!(table.ports(4, &app("app", "1")), BTreeSet::from([2]));
    assert_eq!(table.ports(4, &app("app", "0")), BTreeSet::from([1, 3]));
    assert_eq!(table.ports(4, &process("web", None)), BTreeSet::from([1, 2]));
    assert_eq!(table.ports(4, &process("worker", Some("0"))), BTreeSet::from([3]));
    for unknown in [
        app("app", "2"),
        app("other", "0"),
        process("other", None),
        process("worker", Some("1")),
    ] {
        assert_eq!(table.select(&unknown).unwrap_err(), NoEndpoint::UnknownInstance);
    }
    table.pool.failed(&Arc::clone(&table.lease(2)), table.now);
    assert_eq!(table.ports(4, &app("app", "1")), BTreeSet::from([2]));
    let _lease = table.lease(3);
    let error = table.select(&process("worker", None)).unwrap_err();
    assert_eq!(error, NoEndpoint::Overloaded);
}

/// The first attempt prefers the router's zone as long as an endpoint there can take the request.
#[test]
fn endpoints_of_the_own_zone_come_first() {
    let zoned = |port, availability_zone| Registration {
        availability_zone,
        ..endpoint(port)
    };
    let endpoints = [zoned(1, "z1"), zoned(2, "z2"), zoned(3, "z2")];
    for balancing in [Balancing::RoundRobin, Balancing::LeastConnection] {
        let settings = TableSettings {
            balancing,
            zone: "z2".to_owned(),
            zone_preference: ZonePreference::LocallyOptimistic,
            ..TableSettings::default()
        };
        let table = Table::new(settings, &endpoints);
        let first = Wanted::default();
        assert_eq!(table.ports(6, &first), BTreeSet::from([2, 3]));
        assert_eq!(
            table.ports(6, &Wanted { attempt: 1, ..first }),
            BTreeSet::from([1, 2, 3])
        );
        for at in [2, 3] {
            table.pool.failed(&Arc::clone(&table.lease(at)), table.now);
        }
        assert_eq!(table.ports(6, &first), BTreeSet::from([1]));
    }
}

fn hashed(balance: f64, max_conns: u32) -> Table {
    let endpoints: Vec<_> = plain(5)
        .into_iter()
        .map(|endpoint| Registration {
            balancing: Some(Balancing::Hash),
            hash_header: "X-Tenant",
            hash_balance: balance,
            ..endpoint
        })
        .collect();
    Table::new(settings(max_conns), &endpoints)
}

fn keyed(key: &str) -> Wanted<'_> {
    Wanted {
        hash_key: Some(key),
        ..Wanted::default()
    }
}

/// Each value of the header leads to one endpoint; when an endpoint goes, only a few other values move. Without the header
/// endpoints are chosen in turn.
#[test]
fn a_hash_leads_to_the_same_endpoint() {
    let table = hashed(0.0, 0);
    let keys: Vec<_> = (0..200).map(|number| format!("tenant-{number}")).collect();
    let ports = || -> Vec<_> { keys.iter().map(|key| table.port(&keyed(key))).collect() };
    let before = ports();
    assert_eq!(before, ports());
    assert_eq!(before.iter().collect::<BTreeSet<_>>().len(), 5);
    assert_eq!(table.ports(5, &Wanted::default()).len(), 5);
    table.registry.unregister(ROUTE, &endpoint(5), table.now);
    let after = ports();
    let moved = before
        .iter()
        .zip(&after)
        .filter(|(before, after)| **before != 5 && before != after);
    assert!(moved.count() < 20);
    assert!(!after.contains(&5));
}

/// A hash passes over endpoints that are full, have failed, or were tried; a sticky session comes before it.
#[test]
fn a_hash_passes_over_endpoints_that_cannot_take_the_request() {
    let table = hashed(0.0, 1);
    let wanted = keyed("tenant");
    let first = table.select(&wanted).unwrap();
    let second = table.select(&wanted).unwrap();
    let third = table
        .select(&Wanted {
            attempt: 1,
            tried: &[first.id(), second.id()],
            ..wanted
        })
        .unwrap();
    let ports = BTreeSet::from([&first, &second, &third].map(port));
    assert_eq!(ports.len(), 3);
    let [first, second] = [first, second].map(|lease| port(&lease));
    assert_eq!([table.port(&wanted), table.port(&wanted)], [first, first]);
    table.pool.failed(&Arc::clone(&table.lease(first)), table.now);
    assert_eq!(table.port(&wanted), second);
    let sticky = third.instance_id().to_owned();
    let at = port(&third);
    drop(third);
    assert_eq!(
        table.port(&Wanted {
            sticky: Some(&sticky),
            ..wanted
        }),
        at
    );
}

/// With a balance of 1.5 and a mean of two requests, an endpoint gets no more than four.
#[test]
fn a_hash_leaves_an_endpoint_with_too_many_requests() {
    let table = hashed(1.5, 0);
    let wanted = keyed("tenant");
    let leases: Vec<_> = (0..10).map(|_| table.select(&wanted).unwrap()).collect();
    let most = table.pool.endpoints().iter().map(|endpoint| endpoint.in_flight()).max();
    assert!(most <= Some(4), "{most:?}");
    drop(leases);
    let free = hashed(0.0, 0);
    let leases: Vec<_> = (0..10).map(|_| free.select(&wanted).unwrap()).collect();
    assert_eq!(leases[0].in_flight(), 10);
}

/// Only an endpoint with TLS is pruned, and only as it was when the connection failed.
#[test]
fn a_connection_prunes_only_its_own_endpoint() {
    let tls = Registration {
        tls: true,
        ..endpoint(2)
    };
    let table = Table::new(TableSettings::default(), &[endpoint(1), tls]);
    let [first, second] = [1, 2].map(|at| Arc::clone(&table.lease(at)));
    assert!(!table.pool.prune_endpoint(&first, table.now));
    let changed = Registration { app_id: "other", ..tls };
    table.registry.register(ROUTE, &changed, table.now);
    assert!(!table.pool.prune_endpoint(&second, table.now));
    let second = Arc::clone(&table.lease(2));
    assert!(table.pool.prune_endpoint(&second, table.now));
    assert!(!table.pool.prune_endpoint(&second, table.now));
    assert_eq!(table.ports(4, &Wanted::default()), BTreeSet::from([1]));
    table.registry.unregister(ROUTE, &endpoint(1), table.now);
    assert_eq!(table.select(&Wanted::default()).unwrap_err(), NoEndpoint::Empty);
}

/// The endpoint that was added or changed last says which route service and which policy a route has; an algorithm stays
/// until another one is named.
#[test]
fn the_last_change_decides_about_the_route() {
    let table = Table::plain(1);
    let register = |registration: &Registration<'_>| {
        table.registry.register(ROUTE, registration, table.now);
        table.pool.options()
    };
    assert!(table.pool.options().is_none());
    assert_eq!(table.pool.balancing(), Balancing::RoundRobin);
    let first = Registration {
        route_service_url: "https://service.example.com",
        balancing: Some(Balancing::LeastConnection),
        policy_scope: "org",
        policy_sources: "cf:any",
        ..endpoint(1)
    };
    let options = register(&first).unwrap();
    assert_eq!(
        options.route_service_url.as_deref(),
        Some("https://service.example.com")
    );
    let policy = options.policy.as_ref().map(|(scope, sources)| (&**scope, &**sources));
    assert_eq!(policy, Some(("org", "cf:any")));
    let options = register(&endpoint(2)).unwrap();
    assert_eq!((&options.route_service_url, options.policy.is_none()), (&None, true));
    assert_eq!(table.pool.balancing(), Balancing::LeastConnection);
    // What is only repeated changes nothing.
    register(&first);
    assert_eq!(table.pool.options().unwrap().route_service_url, None);
}
