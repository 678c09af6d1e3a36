//! The routes as connections see them: immutable, except for whose turn it is.
//!
//! A change makes new [`Routes`]. What did not change in them is shared with the ones before, so that the turns of its
//! backends go on, and a connection that has chosen its backends keeps them.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All external ports.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    ports: BTreeMap<u16, Arc<PortRoutes>>,
}

impl Routes {
    /// The routes of an external port.
    pub(crate) fn port(&self, port: u16) -> Option<&Arc<PortRoutes>> {
        self.ports.get(&port)
    }

    /// All external ports with their routes.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (u16, &Arc<PortRoutes>)> {
        self.ports.iter().map(|(port, routes)| (*port, routes))
    }

    /// The routes with these backends by external port and name. What is the same in `before` is taken from there.
    pub(crate) fn of(backends: BTreeMap<(u16, Name), Vec<Backend>>, before: &Self) -> Self {
        let mut ports = BTreeMap::<u16, PortRoutes>::new();
        for ((port, name), list) in backends {
            let known = before.port(port).and_then(|routes| routes.of_name(&name));
            let backends = match known {
                Some(known) if known.list == list => Arc::clone(known),
                _ => Arc::new(Backends::new(port, &name, list)),
            };
            let routes = ports.entry(port).or_default();
            match name.0 {
                Some(name) => drop(routes.named.insert(name, backends)),
                None => routes.default = Some(backends),
            }
        }
        let shared = ports.into_iter().map(|(port, routes)| match before.port(port) {
            Some(known) if **known == routes => (port, Arc::clone(known)),
            _ => (port, Arc::new(routes)),
        });
        Self {
            ports: shared.collect(),
        }
    }
}

/// The name in a client's hello by which a route is chosen, in lower case; `None` for the route of all other connections.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name(Option<Box<str>>);

impl Name {
    /// The name as a route has it.
    pub(crate) fn new(name: Option<&str>) -> Self {
        let name = name.filter(|name| !name.is_empty());
        Self(name.map(|name| name.to_ascii_lowercase().into()))
    }
}

/// The routes of one external port.
#[derive(Debug, Default)]
pub(crate) struct PortRoutes {
    named: HashMap<Box<str>, Arc<Backends>>,
    default: Option<Arc<Backends>>,
}

impl PartialEq for PortRoutes {
    fn eq(&self, other: &Self) -> bool {
        let same = |one: &Arc<Backends>, other: &Arc<Backends>| Arc::ptr_eq(one, other);
        let default = match (&self.default, &other.default) {
            (Some(one), Some(other)) => same(one, other),
            (None, None) => true,
            _ => false,
        };
        let has = |(name, backends)| other.named.get::<str>(name).is_some_and(|other| same(backends, other));
        default && self.named.len() == other.named.len() && self.named.iter().all(|(name, one)| has((name, one)))
    }
}

impl PortRoutes {
    /// Whether the name in the client's hello decides.
    pub(crate) fn has_names(&self) -> bool {
        !self.named.is_empty()
    }

    /// The backends for a connection whose client names this server.
    pub(crate) fn choose(&self, name: Option<&str>) -> Option<&Arc<Backends>> {
        let named = name.and_then(|name| self.named.get(name.to_ascii_lowercase().as_str()));
        named.or(self.default.as_ref())
    }

    fn of_name(&self, name: &Name) -> Option<&Arc<Backends>> {
        match &name.0 {
            Some(name) => self.named.get(name),
            None => self.default.as_ref(),
        }
    }
}

/// The backends of one route, which take turns.
#[derive(Debug)]
pub(crate) struct Backends {
    /// The route as metrics name it: `backend_1024`, `backend_1024_name`, as in the original.
    route: Box<str>,
    list: Vec<Backend>,
    turn: AtomicUsize,
}

impl Backends {
    fn new(port: u16, name: &Name, list: Vec<Backend>) -> Self {
        let route = match &name.0 {
            Some(name) => format!("backend_{port}_{name}"),
            None => format!("backend_{port}"),
        };
        Self {
            route: route.into(),
            list,
            turn: AtomicUsize::new(0),
        }
    }

    /// The route as metrics name it.
    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    /// Each backend once, beginning with the one whose turn it is.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = &Backend> {
        let count = self.list.len();
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % count.max(1);
        (0..count).map(move |index| &self.list[(first + index) % count])
    }
}

/// A program that connections are carried to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Backend {
    /// Its IP address or name.
    pub(crate) host: Box<str>,
    /// The port that is connected to.
    pub(crate) port: u16,
    /// Whether it is spoken to with TLS; its certificate carries `instance_id` then.
    pub(crate) tls: bool,
    /// Which instance it is, if that is known.
    pub(crate) instance_id: Box<str>,
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(formatter, "[{}]:{}", self.host, self.port),
            false => write!(formatter, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(port: u16) -> Backend {
        Backend {
            host: "127.0.0.1".into(),
            port,
            tls: false,
            instance_id: "".into(),
        }
    }

    fn routes(entries: &[(u16, Option<&str>, &[u16])], before: &Routes) -> Routes {
        let backends = entries.iter().map(|(port, name, backends)| {
            let list = backends.iter().map(|port| backend(*port)).collect();
            ((*port, Name::new(*name)), list)
        });
        Routes::of(backends.collect(), before)
    }

    fn first(routes: &Routes, port: u16, name: Option<&str>) -> Option<u16> {
        let backends = routes.port(port)?.choose(name)?;
        backends.in_turn().next().map(|backend| backend.port)
    }

    /// A name decides whatever its case, and others go to the route without a name, if there is one.
    #[test]
    fn names_decide() {
        let routes = routes(
            &[
                (1024, Some("a.Example"), &[1]),
                (1024, None, &[2]),
                (1025, Some("b"), &[3]),
            ],
            &Routes::default(),
        );
        assert_eq!(first(&routes, 1024, Some("A.example")), Some(1));
        assert_eq!(first(&routes, 1024, Some("b")), Some(2));
        assert_eq!(first(&routes, 1024, None), Some(2));
        assert_eq!(first(&routes, 1025, Some("c")), None);
        assert_eq!(first(&routes, 1026, None), None);
        assert!(routes.port(1024).unwrap().has_names());
        let name = routes
            .port(1024)
            .unwrap()
            .choose(Some("a.example"))
            .unwrap()
            .route()
            .to_owned();
        assert_eq!(name, "backend_1024_a.example");
    }

    /// Backends take turns, and each is tried once.
    #[test]
    fn backends_take_turns() {
        let routes = routes(&[(1024, None, &[1, 2, 3])], &Routes::default());
        let order = || {
            let backends = routes.port(1024).unwrap().choose(None).unwrap();
            backends.in_turn().map(|backend| backend.port).collect::<Vec<_>>()
        };
        assert_eq!(
            [order(), order(), order(), order()],
            [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]
        );
    }

    /// What did not change is shared, so that its turn goes on; what changed is not.
    #[test]
    fn unchanged_routes_are_shared() {
        let before = routes(
            &[(1024, None, &[1, 2]), (1025, None, &[3]), (1025, Some("a"), &[4])],
            &Routes::default(),
        );
        first(&before, 1024, None);
        let after = routes(
            &[(1024, None, &[1, 2]), (1025, None, &[3]), (1025, Some("a"), &[5])],
            &before,
        );
        let same = |port| Arc::ptr_eq(before.port(port).unwrap(), after.port(port).unwrap());
        assert!(same(1024) && !same(1025));
        assert_eq!(first(&after, 1024, None), Some(2));
        let default = |routes: &Routes| Arc::clone(routes.port(1025).unwrap().choose(None).unwrap());
        assert!(Arc::ptr_eq(&default(&before), &default(&after)));
    }
}
