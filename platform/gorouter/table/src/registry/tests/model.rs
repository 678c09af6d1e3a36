//! A table beside a model of it that is simple and slow: whatever happens, both hold the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::select;

use super::{seconds, start};
use crate::{ModificationTag, Registered, Registration, Registry, TableSettings};

/// Hosts and paths that meet: below one another, alike but for case, with wildcards of several lengths.
const HOSTS: [&str; 7] = ["a.b.c", "A.b.c", "x.a.b.c", "*.b.c", "*.a.b.c", "*.c", "b.c"];
const PATHS: [&str; 7] = ["", "/", "/p", "/p/", "/P/q", "/p/q/r", "/pq"];
const REQUEST_HOSTS: [&str; 6] = ["a.b.c", "z.B.c", "y.x.a.b.c", "b.c", "z.c", "c"];
const REQUEST_PATHS: [&str; 7] = ["/", "/p", "/p/q", "/P/Q/r/s", "/pq/r", "/p?q", "/x"];

#[derive(Debug, Clone)]
enum Step {
    Register(String, Facts),
    Unregister(String, Facts),
    Wait(u64),
    Prune,
    Suspend(bool),
}

/// What differs between registrations.
#[derive(Debug, Clone, PartialEq)]
struct Facts {
    port: u16,
    tls: bool,
    app: &'static str,
    version: (&'static str, u32),
    threshold: u64,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    suspended: bool,
    was_suspended: bool,
    timeout: u64,
    /// For each route its endpoints in order, each with the time of its registration, and the last change.
    routes: BTreeMap<String, (Vec<(Facts, u64)>, u64)>,
}

impl Facts {
    fn registration(&self) -> Registration<'_> {
        Registration {
            tls: self.tls,
            app_id: self.app,
            modification_tag: ModificationTag {
                guid: self.version.0,
                index: self.version.1,
            },
            stale_threshold: seconds(self.threshold),
            ..Registration::plain("10.0.0.1", self.port)
        }
    }

    fn is_succeeded_by(&self, newer: &Self) -> bool {
        let ((own, index), (other, newer)) = (self.version, newer.version);
        own.is_empty() || other.is_empty() || own != other || index < newer
    }

    fn says_what(&self, other: &Self) -> bool {
        let lasting = |facts: &Self| Self {
            threshold: facts.lasts(),
            ..facts.clone()
        };
        lasting(self) == lasting(other)
    }

    fn lasts(&self) -> u64 {
        if self.threshold == 0 {
            120
        } else {
            self.threshold.min(120)
        }
    }
}

impl Model {
    fn register(&mut self, route: &str, facts: &Facts) -> Registered {
        let (endpoints, changed) = self.routes.entry(name(route)).or_default();
        let answer = match endpoints.iter_mut().find(|(known, _)| known.port == facts.port) {
            Some((known, registered)) if known.says_what(facts) => {
                *registered = self.now;
                Registered::Refreshed
            }
            Some((known, _)) if !known.is_succeeded_by(facts) => return Registered::Outdated,
            Some(known) => {
                *known = (facts.clone(), self.now);
                Registered::Updated
            }
            None => {
                endpoints.push((facts.clone(), self.now));
                Registered::Added
            }
        };
        *changed = self.now;
        answer
    }

    fn unregister(&mut self, route: &str, facts: &Facts) -> bool {
        let Some((endpoints, changed)) = self.routes.get_mut(&name(route)) else {
            return false;
        };
        let goes = |known: &Facts| {
            known.port == facts.port && (known.version == facts.version || known.is_succeeded_by(facts))
        };
        let before = endpoints.len();
        endpoints.retain(|(known, _)| !goes(known));
        let is_removed = endpoints.len() < before;
        if is_removed {
            *changed = self.now;
        }
        if self.is_dead(&self.routes[&name(route)]) {
            self.routes.remove(&name(route));
        }
        is_removed
    }

    fn prune(&mut self) -> BTreeSet<(String, u16)> {
        if self.suspended {
            self.was_suspended = true;
            return BTreeSet::new();
        }
        let refresh = std::mem::take(&mut self.was_suspended);
        let mut pruned = BTreeSet::new();
        let now = self.now;
        for (route, (endpoints, changed)) in &mut self.routes {
            if refresh {
                endpoints.iter_mut().for_each(|(_, registered)| *registered = now);
            }
            endpoints.retain(|(known, registered)| {
                let stays = known.tls || now - registered <= known.lasts();
                if !stays {
                    pruned.insert((route.clone(), known.port));
                    *changed = now;
                }
                stays
            });
        }
        let dead: Vec<_> = self
            .routes
            .iter()
            .filter(|(_, pool)| self.is_dead(pool))
            .map(|(route, _)| route.clone())
            .collect();
        for route in dead {
            self.routes.remove(&route);
        }
        pruned
    }

    fn is_dead(&self, pool: &(Vec<(Facts, u64)>, u64)) -> bool {
        pool.0.is_empty() && (self.timeout == 0 || self.now - pool.1 > self.timeout)
    }

    /// The route that serves a request: every route is looked at.
    fn lookup(&self, host: &str, path: &str) -> Option<&String> {
        let host = host.to_lowercase();
        let path = path.split('?').next().unwrap_or_default().to_lowercase();
        let labels: Vec<_> = host.split('.').collect();
        let wildcards = (1..labels.len()).map(|from| format!("*.{}", labels[from..].join(".")));
        std::iter::once(host.clone()).chain(wildcards).find_map(|host| {
            let of_host = self.routes.iter().filter(|(route, _)| {
                let (own_host, own_path) = route.split_at(route.find('/').unwrap_or(route.len()));
                own_host == host && format!("{path}/").starts_with(&format!("{own_path}/"))
            });
            of_host
                .max_by_key(|(route, pool)| (!pool.0.is_empty(), route.len()))
                .map(|(route, _)| route)
        })
    }
}

/// A route in the form in which routes are compared.
fn name(route: &str) -> String {
    let route = route.to_lowercase();
    route.strip_suffix('/').unwrap_or(&route).to_owned()
}

fn route() -> impl Strategy<Value = String> {
    (select(&HOSTS), select(&PATHS)).prop_map(|(host, path)| format!("{host}{path}"))
}

fn facts() -> impl Strategy<Value = Facts> {
    let version = (select(&["", "", "a", "b"]), 0u32..3);
    (
        0u16..3,
        any::<bool>(),
        select(&["", "app"]),
        version,
        select(&[0u64, 0, 30, 300]),
    )
        .prop_map(|(port, tls, app, version, threshold)| Facts {
            port,
            tls,
            app,
            version,
            threshold,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (route(), facts()).prop_map(|(route, facts)| Step::Register(route, facts)),
        4 => (route(), facts()).prop_map(|(route, facts)| Step::Unregister(route, facts)),
        2 => (1u64..100).prop_map(Step::Wait),
        2 => Just(Step::Prune),
        1 => any::<bool>().prop_map(Step::Suspend),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any steps, with routes that stay for a while when they are empty or that go at once.
    #[test]
    fn a_table_holds_what_its_model_holds(steps in prop::collection::vec(step(), 1..60), timeout in select(&[0u64, 50])) {
        let started = start();
        let settings = TableSettings { empty_pool_timeout: seconds(timeout), ..TableSettings::default() };
        let registry = Registry::new(settings, started);
        let mut model = Model { timeout, ..Model::default() };
        for step in steps {
            let now = started + seconds(model.now);
            match &step {
                Step::Register(route, facts) => {
                    prop_assert_eq!(registry.register(route, &facts.registration(), now), model.register(route, facts));
                }
                Step::Unregister(route, facts) => {
                    prop_assert_eq!(registry.unregister(route, &facts.registration(), now), model.unregister(route, facts));
                }
                Step::Wait(time) => model.now += time,
                Step::Prune => {
                    let pruned = registry.prune(now);
                    let each = pruned.iter().flat_map(|pruned| {
                        pruned.endpoints.iter().map(|endpoint| (pruned.route.clone(), port(endpoint.address())))
                    });
                    prop_assert_eq!(each.collect::<BTreeSet<_>>(), model.prune());
                }
                Step::Suspend(suspended) => {
                    registry.suspend_pruning(*suspended);
                    model.suspended = *suspended;
                }
            }
            let held: BTreeMap<_, Vec<_>> = registry.routes().iter().map(|pool| {
                let ports = pool.endpoints().iter().map(|endpoint| port(endpoint.address())).collect();
                (pool.route().to_owned(), ports)
            }).collect();
            let expected: BTreeMap<_, Vec<_>> = model.routes.iter().map(|(route, (endpoints, _))| {
                (route.clone(), endpoints.iter().map(|(facts, _)| facts.port).collect())
            }).collect();
            prop_assert_eq!(&held, &expected, "after {:?}", step);
            let counts = registry.counts(now + Duration::ZERO);
            prop_assert_eq!(counts.routes, expected.len());
            prop_assert_eq!(counts.endpoints, expected.values().map(Vec::len).sum::<usize>());
            for host in REQUEST_HOSTS {
                for path in REQUEST_PATHS {
                    let served = registry.lookup(host, path).map(|pool| pool.route().to_owned());
                    prop_assert_eq!(served.as_ref(), model.lookup(host, path), "{}{} after {:?}", host, path, step);
                }
            }
        }
    }
}

fn port(address: &str) -> u16 {
    address
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok())
        .expect("an address")
}
