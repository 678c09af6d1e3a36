//! What a broken connection says about messages, and what becomes of the suspects ([`crate::drain::trials`]).

use std::time::Instant;

use weir_drain::{Failure, Stage, Unsettled};
use weir_flow::Reason;

use super::Task;
use crate::drain::flight::Cargo;
use crate::drain::packing::Load;
use crate::drain::trials::{Conclusion, Verdict};

/// The status of a collector that fails at what it was sent. Other statuses of servers say that it is out, or has too much to
/// do.
const FAULT: u16 = 500;

impl Task {
    /// A connection broke with so many messages under way, which are in `loads` again.
    pub(super) fn judge(&mut self, failure: &Failure, messages: u32, now: Instant) {
        let unsettled = match failure.stage {
            Stage::Closed => failure.unsettled,
            Stage::Http if failure.status == Some(FAULT) => Unsettled::Unknown,
            // A drain that takes nothing any more, has too much to do, or whose machine is gone, says nothing about what it
            // was sent.
            _ => {
                self.trials.outage();
                return self.failed(failure, now);
            }
        };
        match self.trials.broken(unsettled, messages) {
            // What a drain answers is taken as an outage as well: it is not stormed.
            Verdict::Again if self.answers() => self.failed(failure, now),
            Verdict::Again => self.breaker.next(now),
            Verdict::Search => self.search(failure, now),
            Verdict::Suspect => {
                if let Some(cargo) = self.take_back() {
                    self.trials.set_aside(cargo, unsettled, now);
                }
                self.search(failure, now);
            }
            Verdict::Reject => {
                if let Some(cargo) = self.take_back() {
                    self.reject(cargo, failure);
                }
                self.trials.judged();
                self.breaker.next(now);
            }
            Verdict::Taken => {
                if let Some(cargo) = self.take_back() {
                    self.book(cargo);
                }
                self.trials.judged();
                self.succeeded(now);
                self.breaker.next(now);
            }
            Verdict::Outage => self.failed(failure, now),
        }
    }

    /// The message that was alone on the connection.
    fn take_back(&mut self) -> Option<Cargo> {
        match self.loads.pop_front() {
            Some(Load::Shipment(cargo)) => Some(cargo),
            Some(load) => {
                self.loads.push_front(load);
                None
            }
            None => None,
        }
    }

    /// Whether the drain says what becomes of what it is sent.
    pub(super) fn answers(&self) -> bool {
        self.me.binding().url.scheme().is_http()
    }

    /// The drain counts as failing; if it answers nothing, the next connection follows at once.
    fn search(&mut self, failure: &Failure, now: Instant) {
        if self.answers() {
            return self.failed(failure, now);
        }
        self.note_failure(failure);
        self.breaker.goes_on(now);
    }

    /// It is refused.
    fn reject(&mut self, mut cargo: Cargo, failure: &Failure) {
        if cargo.envelopes == 0
            && let Some(Load::Shipment(rest)) = self.loads.front_mut()
            && rest.envelopes > 0
        {
            // One of several metrics of a gauge, whose envelope is counted with the others.
            rest.envelopes -= 1;
            cargo.envelopes = 1;
        }
        let source = self.me.binding().source_id().map(str::to_owned);
        let losses = cargo.losses(u64::from(cargo.envelopes), source.as_deref());
        let size = (cargo.bytes.len() + 500) / 1000;
        let why = format!(
            "the drain fails at this message of {size} kB each time, and takes others ({failure}); it may be too long for the \
             drain, or in a form that it does not read"
        );
        self.refuse(Reason::Rejected, &why, &losses);
        self.settle(cargo.places);
    }

    /// It was taken.
    fn book(&mut self, cargo: Cargo) {
        self.me.account.send(u64::from(cargo.envelopes));
        self.settle(cargo.places);
    }

    /// Concludes a search in which the drain kept no message, if it is time; else says when.
    pub(super) fn pump_search(&mut self, now: Instant) -> Option<Instant> {
        if !self.flight.is_empty() || self.outgoing.is_some() {
            return None;
        }
        let at = self.trials.concludes_at(self.has_work(), now)?;
        if at > now {
            return Some(at);
        }
        let (conclusion, suspects) = self.trials.conclude();
        match conclusion {
            Conclusion::OneEach => {
                suspects.into_iter().for_each(|cargo| self.book(cargo));
                self.succeeded(now);
                self.breaker.next(now);
            }
            Conclusion::Outage => {
                self.put_in_front(suspects.into_iter());
                self.breaker.failed(None, now);
            }
        }
        self.published = None;
        None
    }

    /// Suspects are messages as all others again.
    pub(super) fn recall_suspects(&mut self) {
        let suspects = self.trials.take_aside();
        self.put_in_front(suspects.into_iter());
    }

    fn put_in_front(&mut self, suspects: impl DoubleEndedIterator<Item = Cargo>) {
        for cargo in suspects.rev() {
            self.loads.push_front(Load::Shipment(cargo));
        }
    }
}
