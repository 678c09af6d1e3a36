//! Finds the message at which a drain ends its connections.
//!
//! A syslog receiver over TCP can refuse a message only by closing the connection. An HTTPS collector that fails at a
//! message answers with status 500 or not at all. If that message came first on every new connection, the drain would
//! stop for ever. So what was written before a connection broke is sent again once as a whole. If the first message of
//! it could not be settled then, messages are sent in units:
//!
//! ```text
//! unit of n messages ─▶ settled: the next unit has 2 n, up to FULL, from where on there are no units
//!                    └▶ broken:  the next unit has n / 2
//! one message, first on a connection that stayed open for QUIET
//!                    ├▶ settled ("kept"): the receiver works. Each suspect is tried a second time; broken again: rejected
//!                    └▶ broken: the message is a suspect and set aside; the next message is tried
//! no message kept    ├▶ all were read and the connection closed in order: the receiver takes one message per connection
//!                    └▶ otherwise it is an outage: suspects return to their place, and the pauses of an outage begin
//! ```
//!
//! A message is rejected only if connections broke at it before and after the receiver kept another one. So an outage
//! of any kind rejects nothing. Suspects are bounded in number and bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use weir_drain::Unsettled;

use super::flight::Cargo;

/// How long a new connection must stay open before one message is tried alone on it. A proxy whose server is down
/// closes at once.
pub(super) const QUIET: Duration = Duration::from_millis(20);

/// The number of messages per unit from which units are given up.
const FULL: u32 = 4096;

/// The largest number of suspects. A stack trace can give many bad lines in a row.
const SUSPECTS: usize = 256;
/// The largest size in bytes of all suspects.
const SUSPECT_BYTES: usize = 4 << 20;

/// The largest number of suspects after a search without a result. The drain is down then, and gets as few connections
/// as others.
const SUSPECTS_IN_AN_OUTAGE: usize = 8;

/// How long a search waits for another message before it concludes without one.
const WAIT_FOR_ANOTHER: Duration = Duration::from_secs(5);

/// The meaning of a broken connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The drain accepted something before: everything is sent again at once.
    Again,
    /// Smaller units are sent, or another message is tried.
    Search,
    /// The message that was alone on the connection becomes a suspect.
    Suspect,
    /// The message that was alone on the connection is refused for good.
    Reject,
    /// The receiver takes one message per connection, and it took this one.
    Taken,
    /// The break tells nothing about any message.
    Outage,
}

/// The size of the next shipment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// As many messages as the transport accepts.
    Everything,
    /// This number of messages, once nothing else is in flight.
    Unit(u32),
    /// One message, alone on a new connection.
    Alone,
    /// The first suspect, alone on a new connection.
    Suspect,
}

/// The conclusion of a search in which no message was kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// The receiver takes one message per connection, so it took the suspects.
    OnePerConnection,
    /// The drain is down.
    Outage,
}

/// The state of the search for one drain.
#[derive(Debug, Default)]
pub(super) struct Trials {
    /// The number of messages per unit. `None` means that there are no units.
    unit: Option<u32>,
    /// Whether the first message in flight was settled since a connection last broke.
    progressed: bool,
    /// The suspects, oldest first. Places on disk behind them are settled only together with them.
    aside: VecDeque<Cargo>,
    aside_bytes: usize,
    /// Whether the receiver kept another message after the first suspect was set aside.
    kept: bool,
    /// Whether the message that is alone in flight is a suspect.
    retrying: bool,
    /// Whether all suspects were read before their connections ended.
    all_read: bool,
    /// Whether the receiver ends each connection after it has read one message.
    one_per_connection: bool,
    /// Whether the last search had no result and no message was kept since.
    inconclusive: bool,
    /// When the last suspect was set aside.
    since: Option<Instant>,
}

impl Trials {
    /// Returns what is sent next.
    pub(super) fn next(&self) -> Next {
        // Whether a suspect is at fault is known only while the receiver keeps other messages. So it is tried right
        // after one was kept.
        match self.unit {
            None => Next::Everything,
            Some(_) if self.kept && !self.aside.is_empty() => Next::Suspect,
            Some(1) => Next::Alone,
            Some(unit) => Next::Unit(unit),
        }
    }

    /// Takes the first suspect for its second trial.
    pub(super) fn take_suspect(&mut self) -> Option<Cargo> {
        let cargo = self.aside.pop_front()?;
        self.aside_bytes -= cargo.bytes.len();
        self.retrying = true;
        Some(cargo)
    }

    /// Records that a message that is no suspect is tried alone.
    pub(super) const fn tries_another(&mut self) {
        self.retrying = false;
    }

    /// Records that something was settled. `first` says whether the first message in flight was, and `all` whether
    /// everything was. Returns whether the next message needs a new connection.
    pub(super) fn settled(&mut self, first: bool, all: bool) -> bool {
        self.progressed |= first;
        self.inconclusive = false;
        let Some(unit) = self.unit.filter(|_| all) else {
            return false;
        };
        self.one_per_connection = false;
        if !self.aside.is_empty() {
            self.kept = true;
            return true;
        }
        self.kept = false;
        self.retrying = false;
        let unit = unit.saturating_mul(2);
        self.unit = (unit < FULL).then_some(unit);
        false
    }

    /// Evaluates a connection that broke with this number of messages in flight.
    pub(super) fn broken(&mut self, unsettled: Unsettled, messages: u32) -> Verdict {
        // The drain was not reached, or nothing was in flight. Neither says anything about a message.
        if unsettled == Unsettled::Nothing || messages == 0 {
            let progressed = std::mem::take(&mut self.progressed);
            self.outage();
            return if progressed { Verdict::Again } else { Verdict::Outage };
        }
        match self.unit {
            None if self.progressed => {
                self.progressed = false;
                Verdict::Again
            }
            None => {
                self.unit = Some((messages / 2).max(1));
                Verdict::Search
            }
            Some(1) if self.one_per_connection && unsettled == Unsettled::Read => {
                self.kept = true;
                Verdict::Taken
            }
            Some(1) if self.retrying => Verdict::Reject,
            Some(1) => Verdict::Suspect,
            Some(_) => {
                self.unit = Some((messages / 2).max(1));
                Verdict::Search
            }
        }
    }

    /// Records that the drain cannot be reached. A message that was kept before an outage proves nothing for the time
    /// after it.
    pub(super) const fn outage(&mut self) {
        self.kept = false;
    }

    /// Sets a suspect aside.
    pub(super) fn set_aside(&mut self, cargo: Cargo, unsettled: Unsettled, now: Instant) {
        if self.aside.is_empty() {
            self.all_read = true;
            self.kept = false;
        }
        // One message that was not read to its end is enough: this receiver does not take one message per connection.
        self.all_read &= unsettled == Unsettled::Read;
        self.aside_bytes += cargo.bytes.len();
        self.aside.push_back(cargo);
        self.since = Some(now);
    }

    /// Records that a suspect was judged.
    pub(super) const fn judged(&mut self) {
        self.retrying = false;
        self.progressed = true;
    }

    /// Returns when the search must be concluded, if there are suspects and no other message was kept. `more` says
    /// whether there is another message to try.
    pub(super) fn concludes_at(&self, more: bool, now: Instant) -> Option<Instant> {
        let since = self.since.filter(|_| !self.aside.is_empty() && !self.kept)?;
        let most = if self.inconclusive {
            SUSPECTS_IN_AN_OUTAGE
        } else {
            SUSPECTS
        };
        let full = self.aside.len() >= most || self.aside_bytes >= SUSPECT_BYTES;
        match (full, more) {
            (true, _) => Some(now),
            (false, true) => None,
            (false, false) => Some(since + WAIT_FOR_ANOTHER),
        }
    }

    /// Concludes the search without a message that was kept. Returns the conclusion and the suspects.
    pub(super) fn conclude(&mut self) -> (Conclusion, VecDeque<Cargo>) {
        let conclusion = if self.all_read {
            self.one_per_connection = true;
            Conclusion::OnePerConnection
        } else {
            self.inconclusive = true;
            Conclusion::Outage
        };
        (conclusion, self.take_aside())
    }

    /// Takes the suspects back, to be treated like all other messages.
    pub(super) fn take_aside(&mut self) -> VecDeque<Cargo> {
        self.kept = false;
        self.retrying = false;
        self.aside_bytes = 0;
        std::mem::take(&mut self.aside)
    }

    /// Resets the state, because it is another receiver from now on. There must be no suspects.
    pub(super) fn begin_anew(&mut self) {
        debug_assert!(self.aside.is_empty(), "suspects would be lost");
        *self = Self::default();
    }

    /// Returns the suspects, oldest first.
    pub(super) const fn aside(&self) -> &VecDeque<Cargo> {
        &self.aside
    }

    /// Returns the newest suspect.
    pub(super) fn last_aside(&mut self) -> Option<&mut Cargo> {
        self.aside.back_mut()
    }

    /// Returns whether a suspect waits for its second trial.
    pub(super) fn wants_connection(&self) -> bool {
        self.kept && !self.aside.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use weir_service::clock;

    use super::*;

    fn cargo(number: u8) -> Cargo {
        Cargo {
            bytes: vec![number].into(),
            ends: [1].into(),
            envelopes: 1,
            arrived: 0,
            since: None,
            receipts: Vec::new(),
            places: Vec::new(),
            differs: false,
        }
    }

    /// Creates the state after two breaks with `messages` in flight and a search that is down to one message.
    fn alone(messages: u32) -> Trials {
        let mut trials = Trials::default();
        trials.settled(true, false);
        assert_eq!(trials.broken(Unsettled::Unknown, messages), Verdict::Again);
        assert_eq!(trials.next(), Next::Everything);
        let mut under_way = messages;
        while trials.next() != Next::Alone {
            assert_eq!(trials.broken(Unsettled::Unknown, under_way), Verdict::Search);
            under_way = match trials.next() {
                Next::Unit(unit) => unit,
                _ => 1,
            };
        }
        trials
    }

    /// Units are halved. A message that breaks connections alone is rejected only after another one was kept. Then
    /// units grow until there are none.
    #[test]
    fn a_message_is_rejected_between_others_that_are_kept() {
        let now = clock::instant();
        let mut trials = alone(1000);
        for number in 0..3 {
            assert_eq!(trials.broken(Unsettled::Read, 1), Verdict::Suspect);
            trials.set_aside(cargo(number), Unsettled::Read, now);
            assert_eq!(trials.next(), Next::Alone);
        }
        assert_eq!(trials.concludes_at(true, now), None);
        assert!(trials.settled(true, true), "suspects need a new connection");
        for number in 0..3 {
            assert_eq!(trials.next(), Next::Suspect);
            assert_eq!(trials.take_suspect().unwrap().bytes, [number].as_slice());
            if number == 1 {
                assert!(trials.settled(true, true));
            } else {
                assert_eq!(trials.broken(Unsettled::Unknown, 1), Verdict::Reject);
                trials.judged();
            }
        }
        assert_eq!(trials.next(), Next::Alone);
        let mut units = 0;
        while trials.next() != Next::Everything {
            assert!(!trials.settled(true, true));
            units += 1;
        }
        assert_eq!(units, 12);
    }

    /// A connection that ended before anything was written, or that ended in an outage between two trials, proves
    /// nothing.
    #[test]
    fn outages_say_nothing() {
        let now = clock::instant();
        let mut trials = alone(8);
        assert_eq!(trials.broken(Unsettled::Nothing, 1), Verdict::Outage);
        assert_eq!(trials.broken(Unsettled::Unknown, 1), Verdict::Suspect);
        trials.set_aside(cargo(0), Unsettled::Unknown, now);
        assert!(trials.settled(true, true));
        assert_eq!(
            trials.broken(Unsettled::Nothing, 1),
            Verdict::Again,
            "the last one worked"
        );
        assert_eq!(trials.broken(Unsettled::Nothing, 1), Verdict::Outage);
        assert_eq!(trials.next(), Next::Alone, "another one is to be kept first");
        assert_eq!(trials.concludes_at(false, now), Some(now + WAIT_FOR_ANOTHER));
        let (conclusion, suspects) = trials.conclude();
        assert_eq!((conclusion, suspects.len()), (Conclusion::Outage, 1));
        // After a search without a result, the next one is smaller.
        for number in 0..SUSPECTS_IN_AN_OUTAGE {
            assert_eq!(trials.concludes_at(true, now), None);
            trials.set_aside(cargo(u8::try_from(number).unwrap()), Unsettled::Read, now);
        }
        assert_eq!(trials.concludes_at(true, now), Some(now));
    }

    /// A receiver that reads one message and closes has accepted it. A message that it does not read completely is
    /// still rejected.
    #[test]
    fn one_message_a_connection() {
        let now = clock::instant();
        let mut trials = alone(2);
        for number in 0..2 {
            assert_eq!(trials.broken(Unsettled::Read, 1), Verdict::Suspect);
            trials.set_aside(cargo(number), Unsettled::Read, now);
        }
        let (conclusion, suspects) = trials.conclude();
        assert_eq!((conclusion, suspects.len()), (Conclusion::OnePerConnection, 2));
        assert_eq!(trials.broken(Unsettled::Read, 1), Verdict::Taken);
        assert_eq!(trials.next(), Next::Alone);
        assert_eq!(trials.broken(Unsettled::Unknown, 1), Verdict::Suspect);
        trials.set_aside(cargo(2), Unsettled::Unknown, now);
        assert_eq!(trials.broken(Unsettled::Read, 1), Verdict::Taken);
        assert_eq!(trials.next(), Next::Suspect);
        assert!(trials.take_suspect().is_some());
        assert_eq!(trials.broken(Unsettled::Unknown, 1), Verdict::Reject);
        trials.judged();
        assert!(!trials.settled(true, true));
        assert_eq!(trials.next(), Next::Unit(2));
    }
}
