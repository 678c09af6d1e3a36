//! Decides when envelopes go to disk, and when they come back.

use std::time::{Duration, Instant};

use weir_flow::{Reason, Receipt};

use super::Task;
use crate::drain::backlog::{Finished, Moved};
use crate::drain::flight::Cargo;
use crate::drain::packing::Load;
use crate::drain::queue::Waiting;
use crate::spill::{Content, Entry};

/// While spilling, the queue is written to disk after this time, or when it holds this many bytes or envelopes.
const GATHER: Duration = Duration::from_millis(20);
const GATHER_BYTES: usize = 128 << 10;
const GATHER_ENVELOPES: usize = 500;

/// The largest size in bytes of a record that is made from several parcels.
const RECORD: usize = 256 << 10;

/// The number of bytes that one job writes.
const AT_ONCE: usize = 4 << 20;

/// More is read from disk while fewer than this many bytes are ready to be packed.
const READY: u64 = 64 << 10;

impl Task {
    /// Starts the next job of the disk, if there is one to do. Returns when to look again.
    pub(super) fn pump_disk(&mut self, now: Instant) -> Option<Instant> {
        if !self.spilling
            && let Some(due) = self.spills_at(now)
        {
            if due > now {
                return self.wake_for(due);
            }
            // The disk has failed recently. Until it is tried again, lines stay in memory.
            if !self.backlog.may_append(now) {
                return self.release_producers(now);
            }
            self.spilling = true;
            self.copied = false;
        }
        if self.backlog.is_free() && self.spilling {
            let gather = self.pump_append(now);
            // A job may have been started just now. There is one at a time, so each step asks again.
            if self.backlog.is_free() {
                self.pump_read(now);
            }
            if self.backlog.is_free() && self.may_go_direct() {
                self.spilling = false;
                self.loads.append(&mut self.later);
                self.published = None;
            }
            if self.backlog.is_free() {
                self.pump_tidy(now);
            }
            let trouble = self
                // While the disk fails, producers that wait for the acknowledgement of stored lines must not wait for
                // it without end.
                .backlog
                .trouble()
                .is_some()
                .then(|| self.release_producers(now))
                .flatten();
            let wakes = [gather, trouble, self.backlog.read_again_at(), self.backlog.tidy_at()];
            return wakes.into_iter().flatten().filter(|at| *at > now).min();
        }
        if self.backlog.is_free() {
            self.pump_tidy(now);
        }
        self.backlog.tidy_at()
    }

    /// Returns when envelopes in memory must go to disk if nothing changes.
    fn spills_at(&self, now: Instant) -> Option<Instant> {
        let held = self.me.queue.held();
        let in_hand = self.outgoing.iter().filter_map(|cargo| cargo.since);
        let loads = self.loads.iter().take(1).filter_map(|load| match load {
            Load::Parcel { since, .. } => Some(*since),
            Load::Shipment(cargo) => cargo.since,
            Load::Envelopes { .. } => None,
        });
        let oldest = self
            .flight
            .oldest_in_memory()
            .into_iter()
            .chain(in_hand)
            .chain(loads)
            .chain(held.oldest)
            .min();
        let has_any = || held.envelopes > 0 || self.loads.iter().any(|load| load.segment().is_none());
        // A drain that fails may be away for long, so its lines need no further delay in memory.
        if self.me.queue.is_crowded() || (self.breaker.has_failed() && has_any()) {
            return Some(now);
        }
        oldest.map(|oldest| oldest + self.env.terms.spill_after)
    }

    fn wake_for(&mut self, due: Instant) -> Option<Instant> {
        let tidy = self.backlog.tidy_at();
        let now = self.env.clock.instant();
        if self.backlog.is_free() {
            self.pump_tidy(now);
        }
        Some(tidy.map_or(due, |tidy| tidy.min(due)))
    }

    /// Releases the producers that have waited for too long, because the disk cannot be written to or is busy.
    fn release_producers(&mut self, now: Instant) -> Option<Instant> {
        let retry = self.backlog.retry_at()?;
        let after = self.env.terms.spill_after;
        if self.released + after <= now {
            self.released = now;
            if let Some(deadline) = now.checked_sub(after) {
                self.me.queue.release_taken(deadline);
            }
            self.flight.release_taken();
            let loads = self.loads.iter_mut().chain(&mut self.later);
            let receipts = loads.flat_map(|load| match load {
                Load::Parcel { receipts, .. } => receipts.iter_mut(),
                Load::Shipment(cargo) => cargo.receipts.iter_mut(),
                Load::Envelopes { .. } => [].iter_mut(),
            });
            let outgoing = self.outgoing.iter_mut().flat_map(|cargo| &mut cargo.receipts);
            receipts.chain(outgoing).for_each(Receipt::release_taken);
        }
        Some(retry.max(now + Duration::from_millis(1)).min(self.released + after))
    }

    /// Writes envelopes from memory to disk if it is time. Otherwise returns when it will be.
    fn pump_append(&mut self, now: Instant) -> Option<Instant> {
        if !self.backlog.may_append(now) {
            return None;
        }
        let held = self.me.queue.held();
        // What was in flight when spilling began is copied first, because it is older than the queue.
        let left_over = !self.copied || !self.later.is_empty();
        let due = held.oldest.map(|oldest| oldest + GATHER);
        let wanted = left_over
            || held.bytes >= GATHER_BYTES
            || held.envelopes >= GATHER_ENVELOPES
            || due.is_some_and(|due| due <= now);
        if !wanted {
            return due;
        }
        self.append();
        None
    }

    /// Writes envelopes from memory to disk. Returns whether there were any.
    fn append(&mut self) -> bool {
        let (entries, moving) = self.collect();
        self.copied = true;
        if entries.is_empty() {
            return false;
        }
        self.backlog.append(entries, moving);
        true
    }

    /// Returns what is in memory as entries, oldest first. Shipments in flight are copied and everything else is moved.
    fn collect(&mut self) -> (Vec<Entry>, Vec<Moved>) {
        let (mut entries, mut moving) = (Vec::new(), Vec::new());
        for (sequence, cargo) in self.flight.in_memory_only() {
            entries.push(entry_of(cargo));
            moving.push(Moved::InFlight(sequence, cargo.envelopes));
        }
        // A shipment that waits for the transport is stored as well, so that it does not block what is behind it.
        if self.outgoing.as_ref().is_some_and(|cargo| cargo.places.is_empty())
            && let Some(cargo) = self.outgoing.take()
        {
            self.loads.push_front(Load::Shipment(cargo));
        }
        let mut on_disk = std::collections::VecDeque::new();
        for load in self.loads.drain(..).chain(self.later.drain(..)) {
            if load.segment().is_some() {
                on_disk.push_back(load);
                continue;
            }
            let entry = match (&load, load.rest()) {
                (Load::Shipment(cargo), _) => entry_of(cargo),
                (_, Some(rest)) => Entry {
                    envelopes: u32::try_from(rest.len()).unwrap_or(u32::MAX),
                    content: Content::Envelopes(vec![rest]),
                    arrived: load.arrived(),
                },
                // All of its envelopes are in shipments. Only its receipts are left, and those are settled with the
                // shipments.
                (_, None) => continue,
            };
            entries.push(entry);
            moving.push(Moved::Load(load));
        }
        self.loads = on_disk;
        let mut parcels = std::mem::take(&mut self.taken);
        self.me.queue.take(usize::MAX, AT_ONCE, &mut parcels);
        let mut group: Vec<Waiting> = Vec::new();
        let mut size = 0;
        for waiting in parcels.drain(..) {
            let bytes = waiting.bytes();
            if size + bytes > RECORD && !group.is_empty() {
                self.close_group(&mut group, &mut entries, &mut moving);
                size = 0;
            }
            size += bytes;
            group.push(waiting);
        }
        self.close_group(&mut group, &mut entries, &mut moving);
        self.taken = parcels;
        (entries, moving)
    }

    fn close_group(&self, group: &mut Vec<Waiting>, entries: &mut Vec<Entry>, moving: &mut Vec<Moved>) {
        let Some(first) = group.first() else { return };
        let envelopes: usize = group.iter().map(Waiting::envelopes).sum();
        entries.push(Entry {
            content: Content::Envelopes(group.iter().map(|waiting| waiting.parcel.batch.clone()).collect()),
            envelopes: u32::try_from(envelopes).unwrap_or(u32::MAX),
            arrived: self.arrival(first.since),
        });
        moving.push(Moved::Parcels(std::mem::take(group)));
    }

    fn pump_read(&mut self, now: Instant) {
        let ready: u64 = self.loads.iter().map(Load::bytes).sum();
        if self.connection.takes() && ready < READY && self.backlog.may_read(now) {
            self.backlog.read();
        }
    }

    /// Returns whether envelopes may bypass the disk again: everything on disk is in the drain's hands, or there is
    /// nothing at all.
    fn may_go_direct(&self) -> bool {
        let facts = self.backlog.facts();
        if facts.unread > 0 || !self.loads.is_empty() {
            return false;
        }
        let nothing = facts.unsettled == 0 && !self.has_work();
        // A drain that has not yet proved that it works, or has too much in memory, keeps the way through the disk.
        // Without a working disk there is no other way than the direct one.
        let trusted = !self.me.queue.is_crowded() && !self.breaker.has_failed();
        nothing || (self.connection.takes() && (trusted || self.backlog.trouble().is_some()))
    }

    fn pump_tidy(&mut self, now: Instant) {
        if !self.backlog.exists() {
            return;
        }
        let placed = |cargo: &Cargo| !cargo.places.is_empty();
        let in_use = self.flight.has_places()
            || self.outgoing.as_ref().is_some_and(placed)
            || self.trials.aside().iter().any(placed)
            || self.loads.iter().any(|load| load.segment().is_some());
        if !self.spilling && self.backlog.facts().unsettled == 0 && !in_use {
            self.backlog.destroy();
        } else if self.backlog.tidy_at().is_some_and(|at| at <= now) {
            self.backlog.tidy();
        }
    }

    /// Handles the end of a job.
    pub(super) fn finished(&mut self, finished: Finished, now: Instant) {
        let Finished {
            recovered,
            placed,
            returned,
            read,
            losses,
            destroyed,
        } = finished;
        self.me.account.recover(recovered);
        let full = if destroyed {
            Reason::ConsumerGone
        } else {
            Reason::SpillFull
        };
        self.lose(full, &losses.full);
        self.lose(Reason::SpillFailed, &losses.unreadable);
        for (sequence, envelopes, end) in placed {
            // The copy is needed only if the connection breaks, so it must not be read for delivery.
            self.backlog.skip(end, envelopes);
            if !self.flight.placed(sequence, end) {
                self.backlog.settle(vec![(end, envelopes)]);
            }
        }
        let mut parcels = Vec::new();
        for moved in returned {
            match moved {
                Moved::InFlight(..) => self.copied = false,
                Moved::Load(load) => self.later.push_back(load),
                Moved::Parcels(waiting) => parcels.extend(waiting),
            }
        }
        self.me.queue.put_back(parcels.into_iter());
        self.loads.extend(read.into_iter().map(Load::from));
        self.free_memory();
        self.used = self.used.max(now);
        self.published = None;
    }

    /// Frees the memory of what is also on disk, while there is no connection.
    pub(super) fn free_memory(&mut self) {
        let busy =
            self.connection.is_up() || !self.backlog.is_free() || !self.flight.is_empty() || self.outgoing.is_some();
        // A message that is set aside comes before what would be read again, so the order would be lost.
        if busy || !self.trials.aside().is_empty() || self.loads.is_empty() {
            return;
        }
        let first = self.backlog.facts().first_segment;
        let again = |load: &Load| {
            let whole = !matches!(load, Load::Shipment(cargo) if cargo.differs);
            whole && load.segment().is_some_and(|segment| segment >= first)
        };
        if self.loads.iter().all(again) {
            self.loads.clear();
            self.backlog.rewind();
            // Everything in the queue is newer than what is now unread on disk.
            self.spilling = true;
        }
    }

    /// Writes everything to disk because the agent is stopping. What cannot be written is counted as lost.
    pub(super) async fn save_everything(&mut self) {
        self.drop_connection().await;
        self.recall_suspects();
        let clock = self.env.clock.clone();
        self.copied = false;
        while self.append() {
            let finished = self.backlog.done(|| clock.instant()).await;
            let failed = self.backlog.trouble().is_some();
            self.finished(finished, clock.instant());
            if failed {
                break;
            }
        }
        self.lose_memory(Reason::ShuttingDown);
        if self.backlog.exists() {
            if self.backlog.facts().unsettled == 0 && self.loads.is_empty() {
                self.backlog.destroy();
            } else {
                self.backlog.tidy();
            }
            let finished = self.backlog.done(|| clock.instant()).await;
            self.finished(finished, clock.instant());
        }
    }

    /// Counts what is left as lost and removes the backlog, because the binding was removed.
    pub(super) async fn discard_everything(&mut self) {
        self.drop_connection().await;
        self.recall_suspects();
        self.lose_memory(Reason::ConsumerGone);
        if self.backlog.exists() {
            let clock = self.env.clock.clone();
            self.backlog.destroy();
            let finished = self.backlog.done(|| clock.instant()).await;
            self.finished(finished, clock.instant());
        }
    }

    /// Counts everything that is in memory only as lost.
    fn lose_memory(&mut self, reason: Reason) {
        let source = self.me.binding().source_id().map(str::to_owned);
        let first = self.backlog.facts().first_segment;
        let loads = std::mem::take(&mut self.loads)
            .into_iter()
            .chain(std::mem::take(&mut self.later));
        for load in loads {
            if load.segment().is_some_and(|segment| segment >= first) {
                continue;
            }
            match (&load, load.rest()) {
                (Load::Shipment(cargo), _) => {
                    let count = u64::from(cargo.envelopes);
                    cargo
                        .receipts
                        .iter()
                        .take(1)
                        .for_each(|receipt| receipt.note_lost(count));
                    self.lose(reason, &cargo.losses(count, source.as_deref()));
                }
                (Load::Parcel { receipts, .. }, Some(batch)) => {
                    let receipts = receipts.clone();
                    self.lose(reason, &weir_flow::Parcel { batch, receipts }.lose());
                }
                (_, Some(batch)) => self.lose(reason, &weir_flow::Parcel::unacknowledged(batch).lose()),
                (_, None) => {}
            }
        }
        let mut parcels = std::collections::VecDeque::new();
        self.me.queue.take(usize::MAX, usize::MAX, &mut parcels);
        for waiting in parcels {
            self.lose(reason, &waiting.parcel.lose());
        }
    }
}

fn entry_of(cargo: &Cargo) -> Entry {
    Entry {
        content: Content::Shipment {
            bytes: cargo.bytes.clone(),
            ends: cargo.ends.to_vec(),
        },
        envelopes: cargo.envelopes,
        arrived: cargo.arrived,
    }
}
