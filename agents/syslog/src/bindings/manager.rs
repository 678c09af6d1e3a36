//! From a list of bindings to the drains that run.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use weir_drain::{Binding, BindingId};
use weir_flow::Reason;

use super::parsed::Parsed;
use crate::drain::account::HOP;
use crate::drain::{Drain, Env, Order};
use crate::registry::{Notice, Registry};
use crate::routing::{Router, Table};
use crate::spill;

/// Knows all drains.
pub(crate) struct Manager {
    env: Arc<Env>,
    router: Arc<Router>,
    registry: Arc<Registry>,
    per_app_limit: usize,
    /// Those that are bound.
    drains: BTreeMap<BindingId, Arc<Drain>>,
    /// Those beyond their app's limit.
    over: BTreeMap<BindingId, Arc<Drain>>,
    /// Those that are not bound any more and still have something to deliver.
    leaving: Vec<Arc<Drain>>,
    /// Backlogs of before the start whose bindings have not been seen yet.
    found: BTreeSet<BindingId>,
    /// Since when the list in force is the cache's own.
    fresh_since: Option<Instant>,
    /// What apps were told of bindings that are not usable.
    refused: BTreeSet<(String, String)>,
}

impl Manager {
    pub(crate) fn new(
        env: &Arc<Env>,
        router: &Arc<Router>,
        registry: &Arc<Registry>,
        per_app_limit: usize,
        found: BTreeSet<BindingId>,
    ) -> Self {
        Self {
            env: Arc::clone(env),
            router: Arc::clone(router),
            registry: Arc::clone(registry),
            per_app_limit,
            drains: BTreeMap::new(),
            over: BTreeMap::new(),
            leaving: Vec::new(),
            found,
            fresh_since: None,
            refused: BTreeSet::new(),
        }
    }

    /// Makes these the bindings in force. `fresh`: the cache said so just now.
    pub(super) fn apply(&mut self, bindings: &Parsed, aggregates: &[Binding], revision: Option<String>, fresh: bool) {
        let (mut wanted, over) = self.within_limits(&bindings.usable);
        for binding in aggregates {
            wanted.insert(binding.id, Arc::new(binding.clone()));
        }
        self.remove_or_rebind(&wanted);
        let mut begun = Vec::new();
        for (id, binding) in wanted {
            if !self.drains.contains_key(&id) {
                begun.push(Arc::clone(&binding));
                let drain = self.come_back(id).unwrap_or_else(|| {
                    let found = self.found.remove(&id);
                    Drain::start(binding, &self.env, found)
                });
                self.drains.insert(id, drain);
            }
        }
        let before = std::mem::take(&mut self.over);
        for (id, binding) in over {
            let known = before.get(&id).cloned();
            let drain = known.unwrap_or_else(|| Drain::over_limit(binding, &self.env));
            self.over.insert(id, drain);
        }
        self.tell_of_refused(bindings);
        self.publish();
        // Who binds a drain that others wait for has a reason to.
        for binding in begun {
            self.registry.reached(&binding.url.host_and_port());
        }
        self.registry.set_revision(revision);
        if fresh && self.fresh_since.is_none() {
            self.fresh_since = Some(self.env.clock.instant());
        }
        self.env.news.notify_one();
    }

    /// Of each app the first drains in the order of their URLs; and the others.
    fn within_limits(
        &self,
        bindings: &[Binding],
    ) -> (BTreeMap<BindingId, Arc<Binding>>, BTreeMap<BindingId, Arc<Binding>>) {
        let mut apps: BTreeMap<&str, Vec<&Binding>> = BTreeMap::new();
        for binding in bindings {
            apps.entry(binding.source_id().unwrap_or_default())
                .or_default()
                .push(binding);
        }
        let (mut wanted, mut over) = (BTreeMap::new(), BTreeMap::new());
        for mut bindings in apps.into_values() {
            bindings.sort_by_key(|binding| (binding.url.expose(), binding.id));
            bindings.dedup_by_key(|binding| binding.id);
            for (index, binding) in bindings.into_iter().enumerate() {
                let list = if index < self.per_app_limit {
                    &mut wanted
                } else {
                    &mut over
                };
                list.insert(binding.id, Arc::new(binding.clone()));
            }
        }
        (wanted, over)
    }

    /// Drains that are not wanted any more end, or go on as the one that takes their place: the same app and URL, with
    /// other credentials.
    fn remove_or_rebind(&mut self, wanted: &BTreeMap<BindingId, Arc<Binding>>) {
        let gone: Vec<BindingId> = self
            .drains
            .keys()
            .filter(|id| !wanted.contains_key(*id))
            .copied()
            .collect();
        let mut successors: BTreeMap<BindingId, Vec<&Arc<Binding>>> = BTreeMap::new();
        for binding in wanted.values().filter(|binding| !self.drains.contains_key(&binding.id)) {
            successors.entry(binding.rotation_id).or_default().push(binding);
        }
        let mut predecessors: BTreeMap<BindingId, usize> = BTreeMap::new();
        for id in &gone {
            if let Some(drain) = self.drains.get(id) {
                *predecessors.entry(drain.binding().rotation_id).or_default() += 1;
            }
        }
        let by = self.env.clock.instant() + self.env.terms.removed_grace;
        for id in gone {
            let Some(drain) = self.drains.remove(&id) else { continue };
            let rotation_id = drain.binding().rotation_id;
            match (
                predecessors.get(&rotation_id),
                successors.get(&rotation_id).map(Vec::as_slice),
            ) {
                // Only where it is certain who follows whom, and the follower has nothing of its own.
                (Some(1), Some([successor]))
                    if !self.found.contains(&successor.id) && !self.is_leaving(successor.id) =>
                {
                    drain.rebind(Arc::clone(successor));
                    self.drains.insert(successor.id, drain);
                }
                _ => {
                    drain.order(Order::Remove(by));
                    self.leaving.push(drain);
                }
            }
        }
    }

    fn is_leaving(&self, id: BindingId) -> bool {
        self.leaving.iter().any(|drain| drain.binding().id == id)
    }

    /// A binding that was removed a moment ago is bound again: its drain goes on.
    fn come_back(&mut self, id: BindingId) -> Option<Arc<Drain>> {
        let position = self
            .leaving
            .iter()
            .position(|drain| drain.binding().id == id && !drain.is_ending())?;
        let drain = self.leaving.swap_remove(position);
        drain.order(Order::Run);
        Some(drain)
    }

    /// Each app is told once of each of its bindings that is not usable.
    fn tell_of_refused(&mut self, bindings: &Parsed) {
        let mut refused = BTreeSet::new();
        for invalid in &bindings.invalid {
            let Some(app) = &invalid.app else { continue };
            let key = (app.clone(), invalid.text.clone());
            if !self.refused.contains(&key) {
                self.registry.notice(Notice {
                    app: app.clone(),
                    text: invalid.text.clone(),
                });
            }
            refused.insert(key);
        }
        self.refused = refused;
    }

    /// Tells the router and those who look.
    fn publish(&self) {
        self.router.replace(Table::new(self.drains.values().cloned()));
        let all = self.drains.values().chain(self.over.values()).chain(&self.leaving);
        self.registry.replace(all.cloned().collect());
    }

    /// Looks after drains that have ended, and after backlogs that nobody claims.
    pub(super) fn sweep(&mut self) {
        let ended: Vec<BindingId> = self
            .drains
            .iter()
            .filter(|(_, drain)| drain.is_over())
            .map(|(id, _)| *id)
            .collect();
        // It was ordered to go on when it had just come to its end.
        for id in &ended {
            if let Some(drain) = self.drains.remove(id) {
                let again = Drain::start(drain.binding(), &self.env, false);
                self.drains.insert(*id, again);
            }
        }
        let before = self.leaving.len();
        self.leaving.retain(|drain| !drain.was_told_over());
        if !ended.is_empty() || before != self.leaving.len() {
            self.publish();
        }
        let unclaimed = self
            .fresh_since
            .is_some_and(|since| since + self.env.terms.removed_grace <= self.env.clock.instant());
        if unclaimed && !self.found.is_empty() {
            for id in std::mem::take(&mut self.found) {
                self.remove_unclaimed(id);
            }
        }
    }

    fn remove_unclaimed(&self, id: BindingId) {
        let folder = self.env.spill.join(id.to_string());
        let ledger = Arc::clone(&self.env.ledger);
        self.env.tasks.spawn_blocking("remove unclaimed backlog", move || {
            let (losses, removed) = spill::destroy_unknown(&folder);
            let lost: u64 = losses.iter().map(|loss| loss.count).sum();
            ledger.lost(HOP, Reason::ConsumerGone, &losses);
            match removed {
                Ok(()) => tracing::warn!(binding = %id, lost, "backlog of a binding that is gone was removed"),
                Err(error) => {
                    tracing::warn!(binding = %id, %error, "backlog of a binding that is gone cannot be removed")
                }
            }
        });
    }

    /// The agent stops: everybody delivers until `by`, and puts the rest on disk. Returns when all have.
    pub(crate) async fn stop(self, by: Instant) {
        let running: Vec<_> = self.drains.values().chain(&self.leaving).collect();
        for drain in &running {
            drain.order(Order::Stop(by));
        }
        for drain in running {
            drain.ended().await;
        }
    }
}
