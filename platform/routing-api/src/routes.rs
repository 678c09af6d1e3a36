//! Changes of routes: one request is one transaction, and what changed is announced in the order of the commits.
//!
//! A registration that only prolongs a route is not announced each time, which would be most events of a deployment: it is
//! announced when half of the route's time to live has passed since the last announcement. The routers of the original forget
//! a TCP route about which they have heard nothing new for its time to live. The tag grows with each registration all the
//! same, so that a list tells something new, too.

use std::sync::Arc;

use weir_db::{Database, DbError, Transaction, retrying};
use weir_routing_api_client::models::ModificationTag;
use weir_service::{Clock, Tasks};

use crate::hub::{Action, Announcement, Hub};
use crate::store::{Entries, Entry, Stored, new_guid};

/// The routes of one kind. Clones are the same.
#[derive(Debug)]
pub(crate) struct Routes<E> {
    pub(crate) hub: Hub,
    db: Database,
    clock: Clock,
    tasks: Tasks,
    /// One change at a time, so that events leave in the order of the commits.
    writing: Arc<tokio::sync::Mutex<()>>,
    kind: std::marker::PhantomData<fn() -> E>,
}

impl<E> Clone for Routes<E> {
    fn clone(&self) -> Self {
        Self {
            hub: self.hub.clone(),
            db: self.db.clone(),
            clock: self.clock.clone(),
            tasks: self.tasks.clone(),
            writing: Arc::clone(&self.writing),
            kind: self.kind,
        }
    }
}

impl<E: Entry> Routes<E> {
    pub(crate) fn new(db: Database, clock: Clock, tasks: Tasks) -> Self {
        Self {
            hub: Hub::new(),
            db,
            clock,
            tasks,
            writing: Arc::default(),
            kind: std::marker::PhantomData,
        }
    }

    /// All routes whose time is not over.
    pub(crate) async fn all(&self) -> Result<Vec<E>, DbError> {
        Entries::on(&self.db).all(self.now()).await
    }

    /// How many routes there are.
    pub(crate) async fn count(&self) -> Result<i64, DbError> {
        Entries::<_, E>::on(&self.db).count(self.now()).await
    }

    /// The routes that clients reach where they reach `entry`.
    pub(crate) async fn at_frontend(&self, frontend: &str) -> Result<Vec<E>, DbError> {
        Entries::on(&self.db).at_frontend(frontend, self.now()).await
    }

    /// Registers routes that have a time to live: all of them, or none.
    pub(crate) async fn upsert(&self, routes: Vec<E>) -> Result<(), DbError> {
        let routes = Arc::new(routes);
        self.change(move |mut entries, now| {
            let routes = Arc::clone(&routes);
            async move {
                let mut announcements = Vec::new();
                for route in routes.iter() {
                    register(&mut entries, route.clone(), now, &mut announcements).await?;
                }
                Ok((entries, announcements))
            }
        })
        .await
        .map(drop)
    }

    /// Removes routes; those that are not registered are passed over.
    pub(crate) async fn delete(&self, routes: Vec<E>) -> Result<(), DbError> {
        let keys: Arc<Vec<String>> = Arc::new(routes.iter().map(Entry::key).collect());
        self.change(move |mut entries: Entries<Transaction, E>, _| {
            let keys = Arc::clone(&keys);
            async move {
                let mut announcements = Vec::new();
                for key in keys.iter() {
                    if let Some(known) = entries.get(key).await? {
                        entries.remove(key).await?;
                        announcements.push(Announcement::new(Action::Delete, &known.entry));
                    }
                }
                Ok((entries, announcements))
            }
        })
        .await
        .map(drop)
    }

    /// Removes routes whose time is over; returns how many there were.
    pub(crate) async fn expire(&self) -> Result<usize, DbError> {
        let mut all = 0;
        loop {
            let page = self.expire_page().await?;
            all += page;
            if page == 0 {
                return Ok(all);
            }
        }
    }

    async fn expire_page(&self) -> Result<usize, DbError> {
        self.change(|mut entries: Entries<Transaction, E>, now| async move {
            let expired = entries.expired(now).await?;
            let mut announcements = Vec::with_capacity(expired.len());
            for (key, entry) in expired {
                entries.remove(&key).await?;
                announcements.push(Announcement::new(Action::Delete, &entry));
            }
            Ok((entries, announcements))
        })
        .await
    }

    /// Makes a change in a transaction, and announces what it says; returns how many announcements there were. A task of its
    /// own does it, so that a client that goes away cannot come between the commit and the announcements.
    async fn change<W, F>(&self, work: W) -> Result<usize, DbError>
    where
        W: Fn(Entries<Transaction, E>, i64) -> F + Send + Sync + 'static,
        F: Future<Output = Result<(Entries<Transaction, E>, Vec<Announcement>), DbError>> + Send + 'static,
    {
        let this = self.clone();
        let changing = self.tasks.spawn("route change", async move {
            let _writing = this.writing.lock().await;
            let announcements = retrying(|| async {
                let transaction = this.db.begin().await?;
                let (entries, announcements) = work(Entries::on(transaction), this.now()).await?;
                entries.into_inner().commit().await?;
                Ok::<_, DbError>(announcements)
            })
            .await?;
            let count = announcements.len();
            for announcement in announcements {
                this.hub.announce(announcement);
            }
            Ok(count)
        });
        // It ends early only when the component is stopped by force.
        changing.await.unwrap_or(Err(DbError::Busy))
    }

    fn now(&self) -> i64 {
        self.clock.now_nanos() / 1_000_000
    }
}

/// Writes one registration.
async fn register<E: Entry>(
    entries: &mut Entries<Transaction, E>,
    mut route: E,
    now: i64,
    announcements: &mut Vec<Announcement>,
) -> Result<(), DbError> {
    let life = route.ttl().saturating_mul(1000);
    let expires_at = now.saturating_add(life);
    let key = route.key();
    let known: Option<Stored<E>> = entries.get(&key).await?;
    let mut new_tag = ModificationTag {
        guid: new_guid(),
        index: 0,
    };
    if let Some(known) = known {
        if route.replaces(&known.entry) {
            // Routers that tell the two apart must drop the old one.
            announcements.push(Announcement::new(Action::Delete, &known.entry));
        } else {
            new_tag = known.entry.clone().tag().clone();
            route = route.over(&known.entry);
            route.tag().clone_from(&new_tag);
            new_tag.index = new_tag.index.wrapping_add(1);
            // A clock that was set back makes an announcement due as well.
            let is_fresh = (0..life / 2).contains(&now.saturating_sub(known.announced_at));
            if is_fresh && route == known.entry {
                return entries.prolong(&key, new_tag.index, expires_at).await;
            }
        }
    }
    *route.tag() = new_tag;
    announcements.push(Announcement::new(Action::Upsert, &route));
    let stored = Stored {
        entry: route,
        expires_at,
        announced_at: now,
    };
    entries.put(&key, stored).await
}

#[cfg(test)]
mod tests;
