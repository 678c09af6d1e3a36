//! From the queue or the disk to the transport, and what the drain says to it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use weir_drain::{Failure, Outcome};
use weir_flow::Reason;

use super::{Order, Task};
use crate::drain::packing::{Load, Packed};
use crate::drain::queue::{Held, WORTH};

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
                why,
            } = self.packer.pack(&mut self.loads)?;
            if let Some(why) = why {
                self.lose(Reason::Unconvertible, &unconvertible);
                self.note_refusal(&why.to_string());
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
                self.reap();
            }
            Outcome::Rejected {
                sequence,
                messages,
                failure,
            } => {
                if failure.drain_wide && self.is_to_be_tried_again(sequence) {
                    self.fail(&failure, now).await;
                } else {
                    self.rejected(sequence, messages, &failure, now);
                }
            }
            Outcome::Broken(failure) => self.broken(&failure, now).await,
        }
    }

    /// The drain took something.
    fn succeeded(&mut self, now: Instant) {
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
    fn rejected(&mut self, sequence: u64, messages: u32, failure: &Failure, now: Instant) {
        let source = self.me.binding().source_id().map(str::to_owned);
        self.flight.note_lost(sequence, messages);
        if let Some(cargo) = self.flight.settled(sequence) {
            let lost = u64::from(messages.min(cargo.envelopes));
            let losses = cargo.losses(lost, source.as_deref());
            self.me.account.send(u64::from(cargo.envelopes) - lost);
            self.me.account.lose(Reason::Rejected, &losses);
        }
        if !failure.drain_wide {
            self.succeeded(now);
        }
        self.stubborn = None;
        self.note_refusal(&failure.to_string());
        self.reap();
    }

    fn note_refusal(&mut self, text: &str) {
        let now = self.env.clock.now_nanos();
        if self.me.status.update(now, |status| status.refusal = Some(text.into())) {
            self.env.news.notify_one();
        }
    }

    /// Lets go of what is settled at the front.
    pub(super) fn reap(&mut self) {
        let before = self.flight.bytes();
        let places = self.flight.take_settled();
        self.env
            .flying
            .fetch_sub(before - self.flight.bytes(), Ordering::Relaxed);
        if !places.is_empty() {
            self.backlog.settle(places);
        }
    }
}
