//! Moves envelopes from the queue or the disk to the transport, and handles the answers of the drain.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use weir_drain::{Outcome, Refused};
use weir_flow::{Loss, Reason};

use super::{Order, Task};
use crate::drain::packing::{Load, Packed};
use crate::drain::queue::{Held, WORTH};
use crate::drain::trials::Next;
use crate::spill::Place;

/// How long a trickle of envelopes is gathered into one shipment. This bounds the number of small shipments per second.
const GATHER: Duration = Duration::from_millis(5);

/// The number of envelopes that are taken from the queue at once.
const TAKE: usize = 500;

/// How often the drain may refuse one shipment for a reason that concerns all shipments. Then the shipment is given up,
/// so that those behind it are tried.
const MAX_REPEATED_REFUSALS: u32 = 5;

impl Task {
    /// Packs the next shipment if it can be handed over. Returns when to try again if more should be gathered first.
    pub(super) fn pump_delivery(&mut self, now: Instant) -> Option<Instant> {
        loop {
            if self.outgoing.is_some() || !self.connection.takes() || self.is_throttled() {
                return None;
            }
            let most = match self.trials.next() {
                Next::Everything => usize::MAX,
                // In a search, one unit must be settled before the next one is sent. Otherwise it is not known which
                // one broke the connection.
                _ if !self.flight.is_empty() => return None,
                Next::Unit(messages) => messages as usize,
                Next::Alone | Next::Suspect => match self.connection.quiet_at() {
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
                        self.close_in_order(now);
                        return None;
                    }
                },
            };
            if self.loads.is_empty() && !self.spilling {
                // Without unread envelopes on disk, the queue holds the oldest ones.
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
            // Nothing of it could be formatted. It is settled at once, but in its place, so that the cursor on disk
            // does not skip others.
            if cargo.bytes.is_empty() {
                self.me.account.send(u64::from(cargo.envelopes));
                cargo.receipts = Vec::new();
                self.flight.push_settled(cargo);
                self.take_settled_front();
            } else {
                // At most one shipment is formatted ahead of the transport. More would only move bytes from a bounded
                // queue to memory without a bound.
                self.outgoing = Some(cargo);
            }
        }
    }

    /// Returns whether all drains together have so much in flight that each must do with one shipment.
    fn is_throttled(&self) -> bool {
        // With nothing in flight, sending is allowed in any case, or drains could block each other for good.
        !self.flight.is_empty() && self.env.in_flight_bytes.load(Ordering::Relaxed) > self.env.max_in_flight_bytes
    }

    /// Returns until when to wait for more envelopes, if the queue holds less than one shipment should.
    fn gathers(&self, held: Held, now: Instant) -> Option<Instant> {
        let until = self.packed? + GATHER;
        let trickle = held.envelopes > 0 && !held.is_worth_sending() && self.order == Order::Run;
        (trickle && now < until).then_some(until)
    }

    /// Takes parcels for one shipment from the queue.
    fn take(&mut self) {
        let mut parcels = std::mem::take(&mut self.taken);
        // The vector of the last call is used again, so that taking parcels allocates nothing.
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

    /// Records that the transport accepted the shipment.
    pub(super) fn sent(&mut self, now: Instant) {
        if let Some(cargo) = self.outgoing.take() {
            self.env.in_flight_bytes.fetch_add(cargo.bytes.len(), Ordering::Relaxed);
            self.flight.push(cargo);
            self.connection.carries();
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

    /// Records that the drain accepted something.
    pub(super) fn succeeded(&mut self, now: Instant) {
        if self.breaker.has_failed() {
            let binding = self.me.binding();
            tracing::info!(binding = %binding.id, drain = %binding.url, "drain works again");
            self.published = None;
        }
        self.breaker.succeeded();
        self.connection.worked();
        self.used = now;
        self.repeated_refusal = None;
    }

    /// Returns whether a refusal that concerns all shipments should be treated as an outage. The same shipment is not
    /// retried for ever.
    fn is_to_be_tried_again(&mut self, sequence: u64) -> bool {
        let Some(cargo) = self.flight.get(sequence) else {
            return false;
        };
        let fingerprint = cargo.fingerprint();
        let before = match self.repeated_refusal {
            Some((known, count)) if known == fingerprint => count,
            _ => 0,
        };
        self.repeated_refusal = Some((fingerprint, before + 1));
        before + 1 < MAX_REPEATED_REFUSALS
    }

    /// Handles a refusal for good. Other shipments are not affected.
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
        // The shipment stays in flight until it is settled, so the losses are noted in it and then settled with the
        // rest.
        if self.flight.settled(sequence).is_some() {
            self.me.account.send(u64::from(left));
        }
        for (why, losses) in losses {
            self.refuse(Reason::Rejected, &why, &losses);
        }
        // A refusal of single messages shows that the drain works.
        if !drain_wide {
            self.succeeded(now);
        }
        self.repeated_refusal = None;
        self.progress(now);
    }

    /// Handles the settlement of a shipment.
    fn progress(&mut self, now: Instant) {
        let first = self.take_settled_front();
        // The search has its answer for this connection and goes on with a new one.
        if self.trials.settled(first, self.flight.is_empty()) {
            self.close_in_order(now);
        }
    }

    /// Counts refused envelopes. A new reason is reported in the stream of the app.
    pub(super) fn refuse(&self, reason: Reason, why: &str, losses: &[Loss]) {
        if self.me.account.refuse(reason, why, losses) {
            self.env.status_changed.notify_one();
        }
    }

    /// Removes settled shipments at the front of the flight. Returns whether there were any.
    pub(super) fn take_settled_front(&mut self) -> bool {
        let before = self.flight.bytes();
        let places = self.flight.take_settled();
        self.env
            .in_flight_bytes
            .fetch_sub(before - self.flight.bytes(), Ordering::Relaxed);
        self.settle(places);
        self.flight.bytes() < before
    }

    /// Settles places on disk. If a message is set aside in front of them, they are settled together with it.
    pub(super) fn settle(&mut self, places: Vec<(Place, u32)>) {
        match self.trials.last_aside() {
            Some(suspect) => suspect.covers_also(places),
            None if places.is_empty() => {}
            None => self.backlog.settle(places),
        }
    }
}
