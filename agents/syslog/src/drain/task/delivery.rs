//! From the queue or the disk to the transport, and what the drain says to it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use weir_drain::{Outcome, Refused};
use weir_flow::{Loss, Reason};

use super::{Order, Task};
use crate::drain::packing::{Load, Packed};
use crate::drain::queue::{Held, WORTH};
use crate::drain::trials::Next;
use crate::spill::Place;

/// A trickle is gathered for this long: so many small shipments a second at most.
const GATHER: Duration = Duration::from_millis(5);

/// How much is taken out of the queue at once.
const TAKE: usize = 500;

/// A shipment that the drain refused so often, for a reason that would be about all of them, goes, so that what comes
/// behind it is tried.
const STUBBORN: u32 = 5;

impl Task {
    /// Packs the next shipment if it can be handed over; says when to do so if it is left to gather.
    pub(super) fn pump_delivery(&mut self, now: Instant) -> Option<Instant> {
        loop {
            if self.outgoing.is_some() || !self.line.takes() || self.is_throttled() {
                return None;
            }
            let most = match self.trials.next() {
                Next::Everything => usize::MAX,
                _ if !self.flight.is_empty() => return None,
                Next::Unit(messages) => messages as usize,
                Next::Alone | Next::Suspect => match self.line.quiet_at() {
                    Some(at) if at > now => return Some(at),
                    Some(_) if self.trials.next() == Next::Suspect => {
                        self.outgoing = self.trials.take_suspect();
                        return None;
                    }
                    Some(_) => {
                        self.trials.tries_another();
                        1
                    }
                    None => {
                        self.hang_up(now);
                        return None;
                    }
                },
            };
            if self.loads.is_empty() && !self.spilling {
                debug_assert_eq!(self.backlog.facts().unread, 0, "what is on disk is older");
                let held = self.me.queue.held();
                if let Some(until) = self.gathers(held, now) {
                    return Some(until);
                }
                self.take();
                self.packed = Some(now);
            }
            let Packed {
                mut cargo,
                unconvertible,
            } = self.packer.pack(&mut self.loads, most)?;
            for (why, losses) in unconvertible {
                self.refuse(Reason::Unconvertible, &why.to_string(), &losses);
            }
            if cargo.ends.len() > most {
                let (head, rest) = cargo.split(most);
                self.loads.push_front(Load::Shipment(rest));
                cargo = head;
            }
            if cargo.bytes.is_empty() {
                self.me.account.send(u64::from(cargo.envelopes));
                cargo.receipts = Vec::new();
                self.flight.push_settled(cargo);
                self.reap();
            } else {
                self.outgoing = Some(cargo);
            }
        }
    }

    /// Whether all drains together have so much under way that each has to do with one shipment.
    fn is_throttled(&self) -> bool {
        !self.flight.is_empty() && self.env.flying.load(Ordering::Relaxed) > self.env.max_flying
    }

    /// Until when to wait for more, if what is in the queue is not a shipment's worth.
    fn gathers(&self, held: Held, now: Instant) -> Option<Instant> {
        let until = self.packed? + GATHER;
        let trickle = held.envelopes > 0 && !held.is_worth_sending() && self.order == Order::Run;
        (trickle && now < until).then_some(until)
    }

    /// Takes a shipment's worth out of the queue.
    fn take(&mut self) {
        let mut parcels = std::mem::take(&mut self.taken);
        self.me.queue.take(TAKE, WORTH.bytes, &mut parcels);
        for waiting in parcels.drain(..) {
            let arrived = self.arrival(waiting.since);
            self.loads.push_back(Load::Parcel {
                batch: waiting.parcel.batch,
                done: 0,
                receipts: waiting.parcel.receipts,
                since: waiting.since,
                arrived,
            });
        }
        self.taken = parcels;
    }

    /// The transport took the shipment.
    pub(super) fn sent(&mut self, now: Instant) {
        if let Some(cargo) = self.outgoing.take() {
            self.env.flying.fetch_add(cargo.bytes.len(), Ordering::Relaxed);
            self.flight.push(cargo);
            self.line.carries();
            self.used = now;
        }
    }

    pub(super) async fn outcome(&mut self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Written(sequence) => self.flight.written(sequence),
            Outcome::Settled(sequence) => {
                if let Some(cargo) = self.flight.settled(sequence) {
                    self.me.account.send(u64::from(cargo.envelopes));
                }
                self.succeeded(now);
                self.progress(now);
            }
            Outcome::Rejected { sequence, refused } => {
                let wide = refused.iter().find(|refused| refused.failure.drain_wide);
                match wide.map(|refused| refused.failure.clone()) {
                    Some(failure) if self.is_to_be_tried_again(sequence) => self.fail(&failure, now).await,
                    wide => self.rejected(sequence, &refused, wide.is_some(), now),
                }
            }
            Outcome::Broken(failure) => self.broken(&failure, now).await,
        }
    }

    /// The drain took something.
    pub(super) fn succeeded(&mut self, now: Instant) {
        if self.breaker.has_failed() {
            let binding = self.me.binding();
            tracing::info!(binding = %binding.id, drain = %binding.url, "drain works again");
            self.published = None;
        }
        self.breaker.succeeded();
        self.line.worked();
        self.used = now;
        self.stubborn = None;
    }

    /// A refusal that is about all shipments costs none of them, unless it is always the same one.
    fn is_to_be_tried_again(&mut self, sequence: u64) -> bool {
        let Some(cargo) = self.flight.get(sequence) else {
            return false;
        };
        let fingerprint = cargo.fingerprint();
        let before = match self.stubborn {
            Some((known, count)) if known == fingerprint => count,
            _ => 0,
        };
        self.stubborn = Some((fingerprint, before + 1));
        before + 1 < STUBBORN
    }

    /// The drain will never take it: what comes behind it is not concerned.
    fn rejected(&mut self, sequence: u64, refused: &[Refused], drain_wide: bool, now: Instant) {
        let source = self.me.binding().source_id().map(str::to_owned);
        let mut losses = Vec::new();
        let mut left = 0;
        if let Some(cargo) = self.flight.get(sequence) {
            left = cargo.envelopes;
            for Refused { messages, failure } in refused {
                let lost = u32::try_from(messages.len()).unwrap_or(u32::MAX).min(left);
                left -= lost;
                losses.push((failure.to_string(), cargo.losses_of(messages, lost, source.as_deref())));
            }
            self.flight.note_lost(sequence, cargo.envelopes - left);
        }
        if self.flight.settled(sequence).is_some() {
            self.me.account.send(u64::from(left));
        }
        for (why, losses) in losses {
            self.refuse(Reason::Rejected, &why, &losses);
        }
        if !drain_wide {
            self.succeeded(now);
        }
        self.stubborn = None;
        self.progress(now);
    }

    /// Something was settled.
    fn progress(&mut self, now: Instant) {
        let first = self.reap();
        if self.trials.settled(first, self.flight.is_empty()) {
            self.hang_up(now);
        }
    }

    /// Counts what is refused; why is told in the app's stream.
    pub(super) fn refuse(&self, reason: Reason, why: &str, losses: &[Loss]) {
        if self.me.account.refuse(reason, why, losses) {
            self.env.news.notify_one();
        }
    }

    /// Lets go of what is settled at the front; returns whether there was anything.
    pub(super) fn reap(&mut self) -> bool {
        let before = self.flight.bytes();
        let places = self.flight.take_settled();
        self.env
            .flying
            .fetch_sub(before - self.flight.bytes(), Ordering::Relaxed);
        self.settle(places);
        self.flight.bytes() < before
    }

    /// These places need not be read again, as soon as what lies before them need not.
    pub(super) fn settle(&mut self, places: Vec<(Place, u32)>) {
        match self.trials.last_aside() {
            Some(suspect) => suspect.covers_also(places),
            None if places.is_empty() => {}
            None => self.backlog.settle(places),
        }
    }
}
