//! The routes of some hosts.

use std::borrow::Cow;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;

use super::name::{Host, Route};
use crate::pool::Pool;

/// The routes of some hosts. All hashes are those of hosts, by the registry's hasher.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    hosts: HashTable<HostRoutes>,
}

/// The routes of one host: nearly always one.
#[derive(Debug)]
enum HostRoutes {
    One(Arc<Pool>),
    Many(Box<Paths>),
}

/// The routes of a host that has several.
#[derive(Debug)]
struct Paths {
    host: Box<str>,
    hasher: RandomState,
    pools: HashTable<Arc<Pool>>,
    /// No path is longer, in bytes.
    longest: usize,
    /// No path has more segments.
    deepest: usize,
}

impl Hosts {
    /// The pool of exactly this route.
    pub(super) fn pool(&self, hash: u64, route: &Route<'_>) -> Option<&Arc<Pool>> {
        match self.find(hash, route.host)? {
            HostRoutes::One(pool) => (pool.path() == route.path).then_some(pool),
            HostRoutes::Many(paths) => paths.get(route.path),
        }
    }

    /// The pool that serves `path` of a host: without a slash at the end, in lower case or not.
    pub(super) fn lookup(&self, hash: u64, host: Host<'_>, path: &str) -> Option<Arc<Pool>> {
        match self.find(hash, host)? {
            HostRoutes::One(pool) => begins(pool.path(), path).then(|| Arc::clone(pool)),
            HostRoutes::Many(paths) => paths.lookup(path),
        }
    }

    fn find(&self, hash: u64, host: Host<'_>) -> Option<&HostRoutes> {
        self.hosts.find(hash, |routes| routes.are_of(host))
    }

    /// Inserts a route that is not there yet. Returns whether its host is new.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        route: &Route<'_>,
        pool: Arc<Pool>,
        rehash: impl Fn(Host<'_>) -> u64,
    ) -> bool {
        if let Some(routes) = self.hosts.find_mut(hash, |routes| routes.are_of(route.host)) {
            routes.insert(pool);
            return false;
        }
        let rehash = |routes: &HostRoutes| rehash(routes.host());
        self.hosts.insert_unique(hash, HostRoutes::One(pool), rehash);
        true
    }

    /// Removes a route. Returns whether it was the last one of its host.
    pub(super) fn remove(&mut self, hash: u64, route: &Route<'_>) -> bool {
        let Ok(mut entry) = self.hosts.find_entry(hash, |routes| routes.are_of(route.host)) else {
            return false;
        };
        let is_last = match entry.get_mut() {
            HostRoutes::One(_) => true,
            HostRoutes::Many(paths) => paths.remove(route.path),
        };
        if is_last {
            entry.remove();
        }
        is_last
    }

    /// Gives memory back after many routes have gone.
    pub(super) fn shrink(&mut self, rehash: impl Fn(Host<'_>) -> u64) {
        if self.hosts.len() < self.hosts.capacity() / 4 {
            self.hosts.shrink_to_fit(|routes| rehash(routes.host()));
        }
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.hosts.iter().flat_map(|routes| {
            let (one, many) = match routes {
                HostRoutes::One(pool) => (Some(pool), None),
                HostRoutes::Many(paths) => (None, Some(paths.pools.iter())),
            };
            one.into_iter().chain(many.into_iter().flatten())
        })
    }
}

impl HostRoutes {
    fn host(&self) -> Host<'_> {
        Route::split(match self {
            Self::One(pool) => pool.host(),
            Self::Many(paths) => &paths.host,
        })
        .host
    }

    fn are_of(&self, host: Host<'_>) -> bool {
        self.host() == host
    }

    fn insert(&mut self, pool: Arc<Pool>) {
        match self {
            Self::Many(paths) => paths.insert(pool),
            Self::One(first) => {
                let mut paths = Paths {
                    host: first.host().into(),
                    hasher: RandomState::new(),
                    pools: HashTable::new(),
                    longest: 0,
                    deepest: 0,
                };
                paths.insert(Arc::clone(first));
                paths.insert(pool);
                *self = Self::Many(Box::new(paths));
            }
        }
    }
}

impl Paths {
    fn hash(&self, path: &str) -> u64 {
        self.hasher.hash_one(path)
    }

    fn get(&self, path: &str) -> Option<&Arc<Pool>> {
        self.pools.find(self.hash(path), |pool| pool.path() == path)
    }

    fn insert(&mut self, pool: Arc<Pool>) {
        let path = pool.path();
        self.longest = self.longest.max(path.len());
        self.deepest = self.deepest.max(segments(path));
        let hasher = &self.hasher;
        let hash = |pool: &Arc<Pool>| hasher.hash_one(pool.path());
        self.pools.insert_unique(hash(&pool), pool, hash);
    }

    /// Returns whether it was the last one.
    fn remove(&mut self, path: &str) -> bool {
        let hash = self.hash(path);
        if let Ok(entry) = self.pools.find_entry(hash, |pool| pool.path() == path) {
            entry.remove();
        }
        self.pools.is_empty()
    }

    fn lookup(&self, path: &str) -> Option<Arc<Pool>> {
        let path = self.reachable(path);
        let mut longest_empty = None;
        for end in ends_of_segments(&path) {
            match self.get(&path[..end]) {
                Some(pool) if !pool.is_empty() => return Some(Arc::clone(pool)),
                Some(pool) => longest_empty = longest_empty.or(Some(pool)),
                None => {}
            }
        }
        longest_empty.cloned()
    }

    /// As many segments of `path` as a route can have, in lower case: a request for a path of very many segments must not
    /// make the router search for all of them.
    fn reachable<'p>(&self, path: &'p str) -> Cow<'p, str> {
        let ends = path.match_indices('/').skip(1).map(|(end, _)| end).chain([path.len()]);
        let within = ends.take_while(|end| *end <= self.longest).take(self.deepest);
        let path = &path[..within.last().unwrap_or_default()];
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(path.to_ascii_lowercase())
        } else {
            Cow::Borrowed(path)
        }
    }
}

/// Whether the path of a route, which is in lower case, begins that of a request, in whole segments.
fn begins(route: &str, path: &str) -> bool {
    let (route, path) = (route.as_bytes(), path.as_bytes());
    path.len() >= route.len()
        && path[..route.len()].eq_ignore_ascii_case(route)
        && path.get(route.len()).is_none_or(|next| *next == b'/')
}

fn segments(path: &str) -> usize {
    path.matches('/').count()
}

/// Where the segments of a path end, the last first, and 0.
fn ends_of_segments(path: &str) -> impl Iterator<Item = usize> {
    let slashes = path.rmatch_indices('/').map(|(end, _)| end);
    (!path.is_empty())
        .then_some(path.len())
        .into_iter()
        .chain(slashes.filter(|end| *end > 0))
        .chain([0])
}
