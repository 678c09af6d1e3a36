//! Which message ends the connections of a drain.
//!
//! A receiver of syslog over TCP says no to a message by closing the connection, and by nothing else; a collector over HTTPS
//! that fails at a message answers 500, or not at all. The same message first on every new connection would stop the drain
//! for ever. So what was written before a connection broke is repeated in whole once; if the first of it could not be
//! settled then, it goes in units:
//!
//! ```text
//! unit of n messages ─▶ settled: the next one has 2 n, up to FULL, where the drain is free again
//!                    └▶ broken:  the next one has n / 2
//! one message, first on a connection that stayed open for QUIET
//!                    ├▶ settled ("kept"): the receiver works. Each suspect gets its second trial; broken again: rejected
//!                    └▶ broken: a suspect, set aside; the next message is tried
//! no message kept    ├▶ all were read, and the connection closed in order: the receiver takes one message a connection
//!                    └▶ else the drain is out: suspects return to their place, and the pauses of an outage begin
//! ```
//!
//! A message is rejected only if connections broke at it before and after the receiver kept another one: an outage,
//! whatever it looks like, rejects nothing. Suspects are bounded in number and bytes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use weir_drain::Unsettled;

use super::flight::Cargo;

/// How long a new connection must stay open before a message is tried on it alone: a proxy without its server closes.
pub(super) const QUIET: Duration = Duration::from_millis(20);

/// Units of so many messages are as good as no units.
const FULL: u32 = 4096;

/// Most suspects: lines that come in pieces are many at once.
const SUSPECTS: usize = 256;
const SUSPECT_BYTES: usize = 4 << 20;

/// Most suspects once a search had no result: the drain is out, and hears from us as often as other drains that are.
const SUSPECTS_IN_AN_OUTAGE: usize = 8;

/// So long another message is waited for, to try the receiver with, before it is judged without one.
const COMPANY: Duration = Duration::from_secs(5);

/// What a broken connection means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The drain took something until then: everything is sent again, at once.
    Again,
    /// What is sent again is sent in smaller units, or another message is tried.
    Search,
    /// The message that was alone on the connection is one of the suspects now.
    Suspect,
    /// The message that was alone on the connection is refused.
    Reject,
    /// The receiver takes one message a connection, and this was it.
    Taken,
    /// It says nothing about any message.
    Outage,
}

/// What is to be sent next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// As much as the transport takes.
    Everything,
    /// So many messages, when nothing else is under way.
    Unit(u32),
    /// One message, alone on a new connection.
    Alone,
    /// The first of the suspects, alone on a new connection.
    Suspect,
}

/// The conclusion of a search in which no message was kept.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Conclusion {
    /// The receiver takes one message a connection: the suspects were taken.
    OneEach,
    /// The drain is out.
    Outage,
}

/// What is known of a drain's connections. See the module.
#[derive(Debug, Default)]
pub(super) struct Trials {
    /// Messages of a unit; `None`: no units.
    unit: Option<u32>,
    /// What came first was settled since a connection broke last.
    progressed: bool,
    /// The oldest first. Everything that is settled while there are any lies behind them on disk.
    aside: VecDeque<Cargo>,
    aside_bytes: usize,
    /// The receiver kept another message since the first of the suspects was set aside.
    kept: bool,
    /// What is under way alone is a suspect.
    retrying: bool,
    /// All suspects were read before their connections ended.
    all_read: bool,
    /// The receiver ends each connection when it has read a message.
    one_each: bool,
    /// A search had no result, and nothing was kept since.
    in_vain: bool,
    /// When the last suspect was set aside.
    since: Option<Instant>,
}

impl Trials {
    /// What is to be sent next.
    pub(super) fn next(&self) -> Next {
        match self.unit {
            None => Next::Everything,
            Some(_) if self.kept && !self.aside.is_empty() => Next::Suspect,
            Some(1) => Next::Alone,
            Some(unit) => Next::Unit(unit),
        }
    }

    /// The first of the suspects, for its second trial.
    pub(super) fn take_suspect(&mut self) -> Option<Cargo> {
        let cargo = self.aside.pop_front()?;
        self.aside_bytes -= cargo.bytes.len();
        self.retrying = true;
        Some(cargo)
    }

    /// A message is tried alone that is no suspect.
    pub(super) const fn tries_another(&mut self) {
        self.retrying = false;
    }

    /// Something was settled; `first`: what came first was; `all`: everything that was under way. Returns whether the next
    /// message needs a new connection.
    pub(super) fn settled(&mut self, first: bool, all: bool) -> bool {
        self.progressed |= first;
        self.in_vain = false;
        let Some(unit) = self.unit.filter(|_| all) else {
            return false;
        };
        self.one_each = false;
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

    /// A connection broke with so many messages under way.
    pub(super) fn broken(&mut self, unsettled: Unsettled, messages: u32) -> Verdict {
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
            Some(1) if self.one_each && unsettled == Unsettled::Read => {
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

    /// The drain cannot be reached. What was kept before an outage says nothing about the time after it.
    pub(super) const fn outage(&mut self) {
        self.kept = false;
    }

    /// Sets a suspect aside.
    pub(super) fn set_aside(&mut self, cargo: Cargo, unsettled: Unsettled, now: Instant) {
        if self.aside.is_empty() {
            self.all_read = true;
            self.kept = false;
        }
        self.all_read &= unsettled == Unsettled::Read;
        self.aside_bytes += cargo.bytes.len();
        self.aside.push_back(cargo);
        self.since = Some(now);
    }

    /// A suspect was judged.
    pub(super) const fn judged(&mut self) {
        self.retrying = false;
        self.progressed = true;
    }

    /// When to conclude at the latest, if there are suspects and no other message was kept. `more`: there is another
    /// message to try.
    pub(super) fn concludes_at(&self, more: bool, now: Instant) -> Option<Instant> {
        let since = self.since.filter(|_| !self.aside.is_empty() && !self.kept)?;
        let most = if self.in_vain { SUSPECTS_IN_AN_OUTAGE } else { SUSPECTS };
        let full = self.aside.len() >= most || self.aside_bytes >= SUSPECT_BYTES;
        match (full, more) {
            (true, _) => Some(now),
            (false, true) => None,
            (false, false) => Some(since + COMPANY),
        }
    }

    /// Concludes without a message that was kept; returns the suspects.
    pub(super) fn conclude(&mut self) -> (Conclusion, VecDeque<Cargo>) {
        let conclusion = if self.all_read {
            self.one_each = true;
            Conclusion::OneEach
        } else {
            self.in_vain = true;
            Conclusion::Outage
        };
        (conclusion, self.take_aside())
    }

    /// Takes the suspects back: they are messages as all others.
    pub(super) fn take_aside(&mut self) -> VecDeque<Cargo> {
        self.kept = false;
        self.retrying = false;
        self.aside_bytes = 0;
        std::mem::take(&mut self.aside)
    }

    /// Forgets what is known: it is another receiver from now on. There must be no suspects.
    pub(super) fn begin_anew(&mut self) {
        debug_assert!(self.aside.is_empty(), "suspects would be lost");
        *self = Self::default();
    }

    /// The suspects, the oldest first.
    pub(super) const fn aside(&self) -> &VecDeque<Cargo> {
        &self.aside
    }

    /// The youngest of the suspects.
    pub(super) fn last_aside(&mut self) -> Option<&mut Cargo> {
        self.aside.back_mut()
    }

    /// Whether a suspect waits for its second trial.
    pub(super) fn wants_line(&self) -> bool {
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

    /// Trials of a drain that has broken twice with `messages`, down to one.
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

    /// What is repeated is halved; one that breaks alone is rejected only after another one was kept, and then units grow
    /// until there are none.
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

    /// A connection that ends before anything was written, and one that ends in an outage between two trials, say nothing
    /// about messages.
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
        assert_eq!(trials.concludes_at(false, now), Some(now + COMPANY));
        let (conclusion, suspects) = trials.conclude();
        assert_eq!((conclusion, suspects.len()), (Conclusion::Outage, 1));
        // From now on it is searched for less.
        for number in 0..SUSPECTS_IN_AN_OUTAGE {
            assert_eq!(trials.concludes_at(true, now), None);
            trials.set_aside(cargo(u8::try_from(number).unwrap()), Unsettled::Read, now);
        }
        assert_eq!(trials.concludes_at(true, now), Some(now));
    }

    /// A receiver that reads each message and closes takes them; one that it does not read to its end is refused all the same.
    #[test]
    fn one_message_a_connection() {
        let now = clock::instant();
        let mut trials = alone(2);
        for number in 0..2 {
            assert_eq!(trials.broken(Unsettled::Read, 1), Verdict::Suspect);
            trials.set_aside(cargo(number), Unsettled::Read, now);
        }
        let (conclusion, suspects) = trials.conclude();
        assert_eq!((conclusion, suspects.len()), (Conclusion::OneEach, 2));
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
