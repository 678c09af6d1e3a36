//! Shipments: what was handed to the transport and may have to be sent again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use weir_drain::Shipment;
use weir_flow::{Loss, Receipt};

use super::account::of_source;
use crate::spill::{self, Place};

/// Messages that travel together, and whose they are.
#[derive(Debug)]
pub(super) struct Cargo {
    pub(super) bytes: Bytes,
    pub(super) ends: Arc<[u32]>,
    /// Envelopes whose messages these are.
    pub(super) envelopes: u32,
    /// When the oldest of them came in, in nanoseconds since the epoch.
    pub(super) arrived: i64,
    /// The same for the clock that does not jump; only of those that came from memory.
    pub(super) since: Option<Instant>,
    /// Dropped when the drain has them, or the disk.
    pub(super) receipts: Vec<Receipt>,
    /// Where they end on disk, and how many envelopes that covers; empty while they are in memory only. Mostly one.
    pub(super) places: Vec<(Place, u32)>,
    /// It is not what lies on disk at its place: a part of that was sent, refused, or goes separately. Reading it again would
    /// send or count that part again.
    pub(super) differs: bool,
}

impl Cargo {
    /// The first segment that it lies in.
    pub(super) fn segment(&self) -> Option<u64> {
        self.places.first().map(|(place, _)| place.segment)
    }

    /// Takes the places of what lies behind it and is settled: they are settled when it is.
    pub(super) fn covers_also(&mut self, places: Vec<(Place, u32)>) {
        self.differs |= !places.is_empty();
        self.places.extend(places);
    }

    /// What losing the first `count` of it means: by source.
    pub(super) fn losses(&self, count: u64, source: Option<&str>) -> Vec<Loss> {
        match source {
            Some(source) => of_source(source, count),
            None => spill::sources_of_messages(&self.bytes, &self.ends, count),
        }
    }

    /// Cuts it behind its first `messages`, of which it must have more. Of envelopes that gave several messages it is not
    /// known which messages are theirs: the rest always has one, so that it is delivered wherever it is kept.
    pub(super) fn split(mut self, messages: usize) -> (Self, Self) {
        let at = messages.checked_sub(1).and_then(|last| self.ends.get(last));
        let cut = at.copied().unwrap_or_default();
        let envelopes = u32::try_from(messages).unwrap_or(u32::MAX);
        let envelopes = envelopes.min(self.envelopes.saturating_sub(1));
        let mut head = Self {
            bytes: self.bytes.split_to(cut as usize),
            ends: self.ends[..messages].into(),
            envelopes,
            arrived: self.arrived,
            since: self.since,
            receipts: self.receipts.clone(),
            places: Vec::new(),
            differs: true,
        };
        self.differs = true;
        self.ends = self.ends[messages..].iter().map(|end| end - cut).collect();
        self.envelopes -= envelopes;
        if let Some((place, covered)) = self.places.first_mut() {
            // The place itself is settled with the rest.
            let before = Place {
                offset: 0,
                skip: 0,
                ..*place
            };
            let part = envelopes.min(*covered);
            *covered -= part;
            head.places.push((before, part));
        }
        (head, self)
    }

    /// What losing these messages means, in which so many envelopes are lost: by source.
    pub(super) fn losses_of(&self, messages: &Range<u32>, envelopes: u32, source: Option<&str>) -> Vec<Loss> {
        if let Some(source) = source {
            return of_source(source, u64::from(envelopes));
        }
        let (first, last) = (messages.start as usize, messages.end as usize);
        let begin = first.checked_sub(1).and_then(|before| self.ends.get(before));
        let begin = begin.copied().unwrap_or_default();
        let ends = self.ends.get(first..last).unwrap_or_default();
        let ends: Vec<u32> = ends.iter().map(|end| end - begin).collect();
        let bytes = self.bytes.get(begin as usize..).unwrap_or_default();
        spill::sources_of_messages(bytes, &ends, u64::from(envelopes))
    }

    /// A number by which the same messages are known again.
    pub(super) fn fingerprint(&self) -> u64 {
        u64::from(crc32fast::hash(&self.bytes)) << 32 | (self.bytes.len() as u64 & 0xffff_ffff)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Sent,
    Written,
    Settled,
}

#[derive(Debug)]
struct Flying {
    /// Zero for what needed no transport.
    sequence: u64,
    state: State,
    cargo: Cargo,
}

/// Everything on its way over one connection, in order.
#[derive(Debug, Default)]
pub(super) struct Flight {
    shipments: VecDeque<Flying>,
    last: u64,
    bytes: usize,
    /// Envelopes and bytes that are not in a socket yet.
    waiting: (u64, u64),
}

impl Flight {
    /// The next shipment of this connection, made of `cargo`.
    pub(super) fn shipment(&self, cargo: &Cargo) -> Shipment {
        Shipment {
            sequence: self.last + 1,
            bytes: cargo.bytes.clone(),
            ends: Arc::clone(&cargo.ends),
            arrived: cargo.arrived,
        }
    }

    /// Numbers follow each other, but for what needed no transport.
    fn find(&mut self, sequence: u64) -> Option<&mut Flying> {
        let from_the_end = usize::try_from(self.last.checked_sub(sequence)?).ok()?;
        let expected = self.shipments.len().checked_sub(from_the_end + 1);
        let expected = expected.filter(|index| self.shipments[*index].sequence == sequence);
        let index = expected.or_else(|| self.shipments.iter().position(|flying| flying.sequence == sequence))?;
        self.shipments.get_mut(index)
    }

    /// The transport took it.
    pub(super) fn push(&mut self, cargo: Cargo) {
        self.last += 1;
        self.bytes += cargo.bytes.len();
        self.waiting.0 += u64::from(cargo.envelopes);
        self.waiting.1 += cargo.bytes.len() as u64;
        self.shipments.push_back(Flying {
            sequence: self.last,
            state: State::Sent,
            cargo,
        });
    }

    /// Something that needs no transport, because nothing of it can be sent, takes its place in the order.
    pub(super) fn push_settled(&mut self, cargo: Cargo) {
        self.bytes += cargo.bytes.len();
        self.shipments.push_back(Flying {
            sequence: 0,
            state: State::Settled,
            cargo,
        });
    }

    /// It is in the socket: the producers may know.
    pub(super) fn written(&mut self, sequence: u64) {
        let Some(flying) = self.find(sequence) else {
            return;
        };
        if flying.state == State::Sent {
            flying.state = State::Written;
            flying.cargo.receipts = Vec::new();
            let waited = (u64::from(flying.cargo.envelopes), flying.cargo.bytes.len() as u64);
            self.waiting = (self.waiting.0 - waited.0, self.waiting.1 - waited.1);
        }
    }

    /// Tells the producers, where they still wait for it, that so many of its messages are lost.
    pub(super) fn note_lost(&self, sequence: u64, count: u32) {
        let receipt = self.get(sequence).and_then(|cargo| cargo.receipts.first());
        if let Some(receipt) = receipt {
            receipt.note_lost(u64::from(count));
        }
    }

    /// It need not be sent again; returns its cargo's content, if it was not known.
    pub(super) fn settled(&mut self, sequence: u64) -> Option<&Cargo> {
        self.written(sequence);
        let flying = self.find(sequence)?;
        flying.state = State::Settled;
        Some(&flying.cargo)
    }

    /// The cargo that has that number.
    pub(super) fn get(&self, sequence: u64) -> Option<&Cargo> {
        let found = self.shipments.iter().find(|flying| flying.sequence == sequence);
        found.map(|flying| &flying.cargo)
    }

    /// Takes off what is settled at the front: the places that can be given up on disk.
    pub(super) fn take_settled(&mut self) -> Vec<(Place, u32)> {
        let mut places = Vec::new();
        while self
            .shipments
            .front()
            .is_some_and(|flying| flying.state == State::Settled)
        {
            if let Some(flying) = self.shipments.pop_front() {
                self.bytes -= flying.cargo.bytes.len();
                places.extend(flying.cargo.places);
            }
        }
        places
    }

    /// The connection is over: what has to be sent again, in order, and begins anew. Places of what is settled already
    /// pass to what comes before it.
    pub(super) fn take_unsettled(&mut self) -> Vec<Cargo> {
        let mut left: Vec<Cargo> = Vec::new();
        for flying in std::mem::take(self).shipments {
            match (flying.state, left.last_mut()) {
                (State::Settled, Some(before)) => before.covers_also(flying.cargo.places),
                // The front is never settled: it would have been taken off.
                (State::Settled, None) => {}
                _ => left.push(flying.cargo),
            }
        }
        left
    }

    /// Those that are not on disk, for copying them there: number, content, envelopes, arrival.
    pub(super) fn in_memory_only(&self) -> impl Iterator<Item = (u64, &Cargo)> {
        let flying = self.shipments.iter();
        flying
            .filter(|flying| flying.cargo.places.is_empty() && flying.sequence != 0 && flying.state != State::Settled)
            .map(|flying| (flying.sequence, &flying.cargo))
    }

    /// A copy of it is on disk: the producers may know. Returns whether it was still under way.
    pub(super) fn placed(&mut self, sequence: u64, place: Place) -> bool {
        match self.find(sequence) {
            Some(flying) => {
                flying.cargo.places = vec![(place, flying.cargo.envelopes)];
                flying.cargo.receipts = Vec::new();
                flying.cargo.since = None;
                // The copy is just this; but one that counts for nobody is not read again.
                flying.cargo.differs = flying.cargo.envelopes == 0;
                true
            }
            None => false,
        }
    }

    /// Lets go of *taken* for all of it.
    pub(super) fn release_taken(&mut self) {
        let receipts = self.shipments.iter_mut().flat_map(|flying| &mut flying.cargo.receipts);
        receipts.for_each(Receipt::release_taken);
    }

    /// Since when a producer waits for something of it.
    pub(super) fn oldest_in_memory(&self) -> Option<Instant> {
        let unwritten = self.shipments.iter().filter(|flying| flying.state == State::Sent);
        unwritten.filter_map(|flying| flying.cargo.since).next()
    }

    /// When the oldest that is not in a socket came in.
    pub(super) fn oldest_arrival(&self) -> Option<i64> {
        let unwritten = self.shipments.iter().find(|flying| flying.state == State::Sent);
        unwritten.map(|flying| flying.cargo.arrived)
    }

    /// Messages that are not settled.
    pub(super) fn messages(&self) -> u32 {
        let unsettled = self.shipments.iter().filter(|flying| flying.state != State::Settled);
        let messages = unsettled.map(|flying| flying.cargo.ends.len()).sum::<usize>();
        u32::try_from(messages).unwrap_or(u32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shipments.is_empty()
    }

    /// Bytes that are kept.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Envelopes and bytes that are not in a socket yet.
    pub(super) const fn waiting(&self) -> (u64, u64) {
        self.waiting
    }

    /// Whether anything of it is on disk.
    pub(super) fn has_places(&self) -> bool {
        self.shipments.iter().any(|flying| !flying.cargo.places.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use weir_flow::Tracker;

    use super::*;

    fn cargo(envelopes: u32, place: Option<u64>) -> Cargo {
        Cargo {
            bytes: Bytes::from_static(b"<14>1 t h app - -\n"),
            ends: [18].into(),
            envelopes,
            arrived: 0,
            since: None,
            receipts: Vec::new(),
            places: place.map(|offset| (at(offset), envelopes)).into_iter().collect(),
            differs: false,
        }
    }

    fn at(offset: u64) -> Place {
        Place {
            segment: 1,
            offset,
            skip: 0,
        }
    }

    /// Answers may come in any order; places are given up in order, and after a break what was answered is not sent again.
    #[test]
    fn answers_in_any_order() {
        let mut flight = Flight::default();
        for number in 1..=4 {
            let cargo = cargo(number, Some(u64::from(number)));
            assert_eq!(flight.shipment(&cargo).sequence, u64::from(number));
            flight.push(cargo);
        }
        flight.settled(3);
        assert!(flight.take_settled().is_empty());
        flight.settled(1);
        assert_eq!(flight.take_settled(), [(at(1), 1)]);
        assert_eq!(flight.waiting().0, 6);
        let left = flight.take_unsettled();
        assert_eq!(left.iter().map(|cargo| cargo.envelopes).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(left[0].places, [(at(2), 2), (at(3), 3)]);
        assert!(flight.is_empty() && flight.bytes() == 0);
        assert_eq!(flight.shipment(&left[0]).sequence, 1);
    }

    /// Both parts of a cargo are what it was together; on disk it is settled with the second one.
    #[test]
    fn a_cargo_is_cut() {
        let whole = Cargo {
            bytes: Bytes::from_static(b"onetwothree"),
            ends: [3, 6, 11].into(),
            differs: false,
            ..cargo(3, Some(70))
        };
        let (head, rest) = whole.split(2);
        assert_eq!((head.bytes.as_ref(), head.envelopes), (&b"onetwo"[..], 2));
        assert_eq!((rest.bytes.as_ref(), rest.envelopes), (&b"three"[..], 1));
        assert_eq!((&*head.ends, &*rest.ends), (&[3, 6][..], &[5][..]));
        assert_eq!((head.places, rest.places), (vec![(at(0), 2)], vec![(at(70), 1)]));
        assert!(head.differs && rest.differs);
        // A gauge of three metrics, in memory only.
        let gauge = Cargo {
            ends: [6, 12, 18].into(),
            ..cargo(1, None)
        };
        let (head, rest) = gauge.split(1);
        assert_eq!((head.envelopes, rest.envelopes, rest.ends.len()), (0, 1, 2));
        assert!(head.places.is_empty() && rest.places.is_empty());
    }

    /// Producers are told when it is in the socket, or on disk.
    #[test]
    fn receipts_go_when_it_is_safe() {
        let tracker = Tracker::new();
        let mut flight = Flight::default();
        for number in 1..=3 {
            flight.push(Cargo {
                receipts: vec![tracker.receipt(number)],
                ..cargo(1, None)
            });
        }
        flight.written(1);
        assert_eq!(tracker.progress().handed_on, 1);
        assert_eq!(flight.in_memory_only().count(), 3);
        assert!(flight.placed(2, at(2)) && flight.has_places());
        assert_eq!(tracker.progress().handed_on, 2);
        flight.settled(3);
        assert_eq!(tracker.progress().handed_on, 3);
        assert_eq!(flight.waiting(), (1, 18));
    }
}
