//! The routes that the routing API has, with their age (compute-routing §14). It does no input or output, and is told the time.
//!
//! An entry is one backend of one external port and name. A newer modification tag refreshes it, an older one changes
//! nothing, and it goes when it is deleted or its time is over. A list of the routing API replaces all.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use weir_routing_api_client::models::{ModificationTag, TcpRoute};

use crate::routes::{Backend, Name, Routes};

/// Which routes count, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// The isolation segments whose routes are served, the empty one for routes without; none: all are served.
    pub(crate) segments: Vec<String>,
    /// How long an entry lives that does not say so itself.
    pub(crate) ttl: Duration,
    /// Whether backends may have TLS.
    pub(crate) backend_tls: bool,
}

/// The entries.
#[derive(Debug)]
pub(crate) struct Table {
    rules: Rules,
    /// The guid of the router group whose routes are served; `None`: those of all groups.
    group: Option<String>,
    entries: HashMap<Key, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    port: u16,
    name: Name,
    backend: Backend,
}

#[derive(Debug)]
struct Entry {
    tag: ModificationTag,
    until: Instant,
}

/// Why a route is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is for other routers.
    Foreign,
    /// It has a value that cannot be.
    Invalid(&'static str),
}

impl Table {
    /// A table without entries.
    pub(crate) fn new(rules: Rules) -> Self {
        Self {
            rules,
            group: None,
            entries: HashMap::new(),
        }
    }

    /// Serves the routes of this router group only.
    pub(crate) fn set_group(&mut self, guid: Option<String>) {
        self.group = guid;
    }

    /// Registers or refreshes an entry; whether routes changed.
    ///
    /// # Errors
    /// When the route is not served.
    pub(crate) fn upsert(&mut self, route: &TcpRoute, now: Instant) -> Result<bool, Refusal> {
        let key = self.key(route)?;
        let until = now + self.life(route);
        let tag = route.modification_tag.clone();
        match self.entries.get_mut(&key) {
            Some(entry) if !entry.tag.succeeded_by(&tag) => Ok(false),
            Some(entry) => {
                *entry = Entry { tag, until };
                Ok(false)
            }
            None => {
                self.entries.insert(key, Entry { tag, until });
                Ok(true)
            }
        }
    }

    /// Removes an entry, unless it is newer; whether routes changed.
    pub(crate) fn delete(&mut self, route: &TcpRoute) -> bool {
        let Ok(key) = self.key(route) else {
            return false;
        };
        let entry = self.entries.get(&key);
        let goes = entry.is_some_and(|entry| entry.tag.deleted_by(&route.modification_tag));
        goes && self.entries.remove(&key).is_some()
    }

    /// Takes a list of the routing API: what is not in it is gone. Whether routes changed, and which are not served because of
    /// what they say.
    pub(crate) fn replace<'r>(
        &mut self,
        list: &'r [TcpRoute],
        now: Instant,
    ) -> (bool, Vec<(&'r TcpRoute, &'static str)>) {
        let before = std::mem::take(&mut self.entries);
        let mut invalid = Vec::new();
        for route in list {
            if let Err(Refusal::Invalid(reason)) = self.upsert(route, now) {
                invalid.push((route, reason));
            }
        }
        let known = |key| before.contains_key(key);
        let changed = before.len() != self.entries.len() || !self.entries.keys().all(known);
        (changed, invalid)
    }

    /// Removes what was not refreshed in time; how many entries that were.
    pub(crate) fn prune(&mut self, now: Instant) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, entry| now < entry.until);
        before - self.entries.len()
    }

    /// The routes as they are now; what is the same in `before` is taken from there.
    pub(crate) fn routes(&self, before: &Routes) -> Routes {
        let mut backends = BTreeMap::<_, Vec<_>>::new();
        for key in self.entries.keys() {
            let list = backends.entry((key.port, key.name.clone())).or_default();
            list.push(key.backend.clone());
        }
        // Their order decides whose turn it is, and whether the list is the same as before.
        backends.values_mut().for_each(|list| list.sort_unstable());
        Routes::of(backends, before)
    }

    fn life(&self, route: &TcpRoute) -> Duration {
        let seconds = route.ttl.and_then(|ttl| u64::try_from(ttl).ok()).filter(|ttl| *ttl > 0);
        // The API takes what an unsigned 16-bit number holds.
        seconds.map_or(self.rules.ttl, |seconds| {
            Duration::from_secs(seconds.min(u64::from(u16::MAX)))
        })
    }

    fn key(&self, route: &TcpRoute) -> Result<Key, Refusal> {
        let of_group = self.group.as_ref().is_none_or(|guid| *guid == route.router_group_guid);
        let segments = &self.rules.segments;
        if !of_group || !(segments.is_empty() || segments.contains(&route.isolation_segment)) {
            return Err(Refusal::Foreign);
        }
        let require = |holds: bool, reason| if holds { Ok(()) } else { Err(Refusal::Invalid(reason)) };
        let tls_port = route.tls_port();
        require(route.port > 0, "it has no external port")?;
        require(tls_port.is_some() || route.backend_port > 0, "its backend has no port")?;
        require(is_host(&route.backend_ip), "its backend has no valid address")?;
        require(
            tls_port.is_none() || !route.instance_id.is_empty(),
            "its backend has TLS and no instance id",
        )?;
        require(
            tls_port.is_none() || self.rules.backend_tls,
            "its backend has TLS, which is not configured here",
        )?;
        Ok(Key {
            port: route.port,
            name: Name::new(route.backend_sni_hostname.as_deref()),
            backend: Backend {
                host: route.backend_ip.as_str().into(),
                port: tls_port.unwrap_or(route.backend_port),
                tls: tls_port.is_some(),
                instance_id: route.instance_id.as_str().into(),
            },
        })
    }
}

/// Whether it may be an IP address or a DNS name.
fn is_host(host: &str) -> bool {
    let of_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    (1..=255).contains(&host.len()) && host.bytes().all(of_host)
}

#[cfg(test)]
mod tests;
