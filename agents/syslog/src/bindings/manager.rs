//! Starts, keeps and ends drains, so that they match the lists of bindings.

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

/// The owner of all drains.
pub(crate) struct Manager {
    env: Arc<Env>,
    router: Arc<Router>,
    registry: Arc<Registry>,
    per_app_limit: usize,
    /// The drains of the bindings in force.
    drains: BTreeMap<BindingId, Arc<Drain>>,
    /// The drains beyond the limit of their app. Nothing is sent to them.
    over: BTreeMap<BindingId, Arc<Drain>>,
    /// Drains that are not bound any more and still have something to deliver.
    leaving: Vec<Arc<Drain>>,
    /// Backlogs that a previous run of the agent left, and whose bindings have not been seen yet.
    found: BTreeSet<BindingId>,
    /// When the cache itself first sent a list to this run of the agent, as opposed to a saved list.
    fresh_since: Option<Instant>,
    /// App and text of each notice about an invalid binding that was given already.
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

    /// Puts these bindings in force. `fresh` says that the cache sent them just now.
    pub(super) fn apply(&mut self, bindings: &Parsed, aggregates: &[Binding], revision: Option<String>, fresh: bool) {
        let (mut wanted, over) = self.within_limits(&bindings.usable);
        for binding in aggregates {
            wanted.insert(binding.id, Arc::new(binding.clone()));
        }
        // Before new drains are started, so that a changed credential continues the queue of its drain.
        self.remove_or_rebind(&wanted);
        let mut begun = Vec::new();
        for (id, binding) in wanted {
            // A drain that was just removed may still be sending its backlog. It is used again, with its queue.
            if !self.drains.contains_key(&id) {
                begun.push(Arc::clone(&binding));
                let drain = self.resume(id).unwrap_or_else(|| {
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
        self.report_refused(bindings);
        self.publish();
        // A binding may have been created because its drain can be reached again. Other drains at this address are
        // tried at once.
        for binding in begun {
            self.registry.reached(&binding.url.host_and_port());
        }
        self.registry.set_revision(revision);
        if fresh && self.fresh_since.is_none() {
            self.fresh_since = Some(self.env.clock.instant());
        }
        self.env.status_changed.notify_one();
    }

    /// Splits the bindings into those that are used and those beyond the limit. Of each app the first ones in the order
    /// of their URLs are used.
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
            // By URL, as in the original, so that all agents choose the same drains of an app.
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

    /// Ends the drains that are not wanted any more. A drain whose app and URL appear with other credentials goes on
    /// under the new binding instead.
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
        // The grace period lets removed drains send what waits.
        let by = self.env.clock.instant() + self.env.terms.removed_grace;
        for id in gone {
            let Some(drain) = self.drains.remove(&id) else { continue };
            let rotation_id = drain.binding().rotation_id;
            match (
                predecessors.get(&rotation_id),
                successors.get(&rotation_id).map(Vec::as_slice),
            ) {
                // The successor is taken only if it is the only candidate and has no backlog of its own. Otherwise two
                // backlogs, or none, would belong to one binding.
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

    /// Resumes the drain of a binding that was removed a moment ago and is bound again.
    fn resume(&mut self, id: BindingId) -> Option<Arc<Drain>> {
        let position = self
            .leaving
            .iter()
            .position(|drain| drain.binding().id == id && !drain.is_ending())?;
        let drain = self.leaving.swap_remove(position);
        drain.order(Order::Run);
        Some(drain)
    }

    /// Tells each app once about each of its bindings that is invalid.
    fn report_refused(&mut self, bindings: &Parsed) {
        let mut refused = BTreeSet::new();
        for invalid in &bindings.invalid {
            let Some(app) = &invalid.app else { continue };
            let key = (app.clone(), invalid.text.clone());
            // Reported once, and not with every list that still contains it.
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

    /// Gives the current drains to the router and the registry.
    fn publish(&self) {
        // The router first: envelopes must not be routed to a drain that is already reported as removed.
        self.router.replace(Table::new(self.drains.values().cloned()));
        let all = self.drains.values().chain(self.over.values()).chain(&self.leaving);
        self.registry.replace(all.cloned().collect());
    }

    /// Replaces drains that have ended by themselves, forgets removed ones that have ended, and deletes backlogs that
    /// no binding claims.
    pub(super) fn sweep(&mut self) {
        let ended: Vec<BindingId> = self
            .drains
            .iter()
            .filter(|(_, drain)| drain.is_over())
            .map(|(id, _)| *id)
            .collect();
        // A drain ends by itself only if it was told to run again at the moment in which it ended.
        for id in &ended {
            if let Some(drain) = self.drains.remove(id) {
                let again = Drain::start(drain.binding(), &self.env, false);
                self.drains.insert(*id, again);
            }
        }
        // A drain that ended is forgotten one round later, so that its last status has been reported.
        let before = self.leaving.len();
        self.leaving.retain(|drain| !drain.end_was_seen());
        if !ended.is_empty() || before != self.leaving.len() {
            self.publish();
        }
        // Backlogs are claimed by the first complete list. A list from before the restart may lack bindings, so it
        // removes nothing.
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

    /// Stops all drains. They deliver until `by` and write the rest to disk. Returns when all have ended.
    pub(crate) async fn stop(self, by: Instant) {
        // All drains are told first, so that they use the time until `by` in parallel.
        let running: Vec<_> = self.drains.values().chain(&self.leaving).collect();
        for drain in &running {
            drain.order(Order::Stop(by));
        }
        for drain in running {
            drain.ended().await;
        }
    }
}
