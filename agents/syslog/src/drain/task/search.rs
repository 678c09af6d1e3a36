//! Evaluates broken connections, and handles messages that are suspected to break them ([`crate::drain::trials`]).

use std::time::Instant;

use weir_drain::{Failure, Stage, Unsettled};
use weir_flow::Reason;

use super::Task;
use crate::drain::flight::Cargo;
use crate::drain::packing::Load;
use crate::drain::trials::{Conclusion, Verdict};

/// The HTTP status of a collector that fails while it handles a message. Other 5xx statuses mean that it is down or
/// overloaded.
const FAULT: u16 = 500;

impl Task {
    /// Evaluates a connection that broke with this number of messages in flight. They are in `loads` again.
    pub(super) fn judge(&mut self, failure: &Failure, messages: u32, now: Instant) {
        let unsettled = match failure.stage {
            Stage::Closed => failure.unsettled,
            Stage::Http if failure.status == Some(FAULT) => Unsettled::Unknown,
            // A drain that accepts nothing, is overloaded, or whose machine is gone tells nothing about the messages it
            // was sent.
            _ => {
                self.trials.outage();
                return self.failed(failure, now);
            }
        };
        match self.trials.broken(unsettled, messages) {
            // A break of a connection over HTTP also counts as an outage, so that the drain is not flooded with
            // attempts.
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
                    self.count_as_sent(cargo);
                }
                self.trials.judged();
                self.succeeded(now);
                self.breaker.next(now);
            }
            Verdict::Outage => self.failed(failure, now),
        }
    }

    /// Takes back the message that was alone on the connection.
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

    /// Returns whether the drain acknowledges messages, which HTTP drains do.
    pub(super) fn answers(&self) -> bool {
        self.me.binding().url.scheme().is_http()
    }

    /// Continues a search. The drain counts as failing. If it does not acknowledge messages, the next connection
    /// follows at once.
    fn search(&mut self, failure: &Failure, now: Instant) {
        if self.answers() {
            return self.failed(failure, now);
        }
        self.note_failure(failure);
        self.breaker.goes_on(now);
    }

    /// Counts a message as refused and settles its place.
    fn reject(&mut self, mut cargo: Cargo, failure: &Failure) {
        if cargo.envelopes == 0
            && let Some(Load::Shipment(rest)) = self.loads.front_mut()
            && rest.envelopes > 0
        {
            // A gauge with several metrics gives several messages. Its one envelope is counted with this message, and
            // not with the rest.
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

    /// Counts a message as delivered and settles its place.
    fn count_as_sent(&mut self, cargo: Cargo) {
        self.me.account.send(u64::from(cargo.envelopes));
        self.settle(cargo.places);
    }

    /// Concludes a search in which the drain accepted no message, if it is time. Otherwise returns when it will be.
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
            Conclusion::OnePerConnection => {
                suspects.into_iter().for_each(|cargo| self.count_as_sent(cargo));
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

    /// Puts suspects back among the other messages.
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
