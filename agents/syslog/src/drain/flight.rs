//! The shipments that were handed to the transport and may have to be sent again.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use weir_drain::Shipment;
use weir_flow::{Loss, Receipt};

use super::account::of_source;
use crate::spill::{self, Place};

/// Messages that travel together, and what has to be known to settle, split, save or count them.
#[derive(Debug)]
pub(super) struct Cargo {
    pub(super) bytes: Bytes,
    /// The end of each message in `bytes`.
    pub(super) ends: Arc<[u32]>,
    /// The number of envelopes from which the messages were made.
    pub(super) envelopes: u32,
    /// When the oldest envelope arrived, in nanoseconds since the epoch.
    pub(super) arrived: i64,
    /// When the oldest envelope arrived, on the monotonic clock. Only for envelopes that came from memory.
    pub(super) since: Option<Instant>,
    /// The producers' receipts. They are released when the drain or the disk has the messages.
    pub(super) receipts: Vec<Receipt>,
    /// Where the messages end on disk, and how many envelopes each place covers. Empty if they are in memory only.
    /// There is usually one place.
    pub(super) places: Vec<(Place, u32)>,
    /// Whether this differs from what is on disk at its place, because a part of that was sent, refused or split off.
    /// Then reading the place again would send or count that part twice.
    pub(super) differs: bool,
}

impl Cargo {
    /// Returns the number of the first segment that it covers.
    pub(super) fn segment(&self) -> Option<u64> {
        self.places.first().map(|(place, _)| place.segment)
    }

    /// Adds places of what comes after it and is settled already. They will be settled together with it.
    pub(super) fn covers_also(&mut self, places: Vec<(Place, u32)>) {
        self.differs |= !places.is_empty();
        self.places.extend(places);
    }

    /// Returns the losses, by source, if the first `count` envelopes are lost. `source` is the only source, if there is
    /// one.
    pub(super) fn losses(&self, count: u64, source: Option<&str>) -> Vec<Loss> {
        match source {
            Some(source) => of_source(source, count),
            None => spill::sources_of_messages(&self.bytes, &self.ends, count),
        }
    }

    /// Splits off the first `messages`. There must be more than that. If an envelope gave several messages, it is not
    /// known which these are; the rest always keeps at least one envelope, so that it is counted and delivered wherever
    /// it is stored.
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
            // The rest settles the real place. The head only counts its envelopes, at the beginning of the segment.
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

    /// Returns the losses, by source, if these messages with this number of envelopes are lost.
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

    /// Returns a number by which the same messages can be recognised.
    pub(super) fn fingerprint(&self) -> u64 {
        u64::from(crc32fast::hash(&self.bytes)) << 32 | (self.bytes.len() as u64 & 0xffff_ffff)
    }
}

/// How far a shipment has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Sent,
    Written,
    Settled,
}

#[derive(Debug)]
struct InFlight {
    /// The sequence number on this connection. Zero for cargo that needed no transport.
    sequence: u64,
    state: State,
    cargo: Cargo,
}

/// All shipments in flight on one connection, in order.
#[derive(Debug, Default)]
pub(super) struct Flight {
    shipments: VecDeque<InFlight>,
    last: u64,
    bytes: usize,
    /// The envelopes and bytes that are not yet in a socket.
    waiting: (u64, u64),
}

impl Flight {
    /// Returns the next shipment of this connection, made from `cargo`.
    pub(super) fn shipment(&self, cargo: &Cargo) -> Shipment {
        Shipment {
            sequence: self.last + 1,
            bytes: cargo.bytes.clone(),
            ends: Arc::clone(&cargo.ends),
            arrived: cargo.arrived,
        }
    }

    /// Finds a shipment by its sequence number. Numbers are consecutive except for cargo without transport, so the
    /// position is usually computed and not searched.
    fn find(&mut self, sequence: u64) -> Option<&mut InFlight> {
        let from_the_end = usize::try_from(self.last.checked_sub(sequence)?).ok()?;
        let expected = self.shipments.len().checked_sub(from_the_end + 1);
        let expected = expected.filter(|index| self.shipments[*index].sequence == sequence);
        let index = expected.or_else(|| {
            self.shipments
                .iter()
                .position(|in_flight| in_flight.sequence == sequence)
        })?;
        self.shipments.get_mut(index)
    }

    /// Records that the transport accepted the cargo as the next shipment.
    pub(super) fn push(&mut self, cargo: Cargo) {
        self.last += 1;
        self.bytes += cargo.bytes.len();
        self.waiting.0 += u64::from(cargo.envelopes);
        self.waiting.1 += cargo.bytes.len() as u64;
        self.shipments.push_back(InFlight {
            sequence: self.last,
            state: State::Sent,
            cargo,
        });
    }

    /// Adds cargo of which nothing can be sent. It only keeps its place in the order.
    pub(super) fn push_settled(&mut self, cargo: Cargo) {
        self.bytes += cargo.bytes.len();
        self.shipments.push_back(InFlight {
            sequence: 0,
            state: State::Settled,
            cargo,
        });
    }

    /// Records that a shipment is in the socket, and releases its receipts.
    pub(super) fn written(&mut self, sequence: u64) {
        let Some(in_flight) = self.find(sequence) else {
            return;
        };
        if in_flight.state == State::Sent {
            in_flight.state = State::Written;
            // The receipts are dropped here: a TCP drain has accepted the line when it is written (see the module's
            // documentation).
            in_flight.cargo.receipts = Vec::new();
            let waited = (u64::from(in_flight.cargo.envelopes), in_flight.cargo.bytes.len() as u64);
            self.waiting = (self.waiting.0 - waited.0, self.waiting.1 - waited.1);
        }
    }

    /// Records in the receipt, if it is still held, that `count` of the shipment's messages are lost.
    pub(super) fn note_lost(&self, sequence: u64, count: u32) {
        let receipt = self.get(sequence).and_then(|cargo| cargo.receipts.first());
        if let Some(receipt) = receipt {
            receipt.note_lost(u64::from(count));
        }
    }

    /// Records that a shipment need not be sent again. Returns its cargo, if the number is known.
    pub(super) fn settled(&mut self, sequence: u64) -> Option<&Cargo> {
        self.written(sequence);
        let in_flight = self.find(sequence)?;
        in_flight.state = State::Settled;
        Some(&in_flight.cargo)
    }

    /// Returns the cargo with this sequence number.
    pub(super) fn get(&self, sequence: u64) -> Option<&Cargo> {
        let found = self.shipments.iter().find(|in_flight| in_flight.sequence == sequence);
        found.map(|in_flight| &in_flight.cargo)
    }

    /// Removes the settled shipments at the front, and returns their places on disk.
    pub(super) fn take_settled(&mut self) -> Vec<(Place, u32)> {
        // Only from the front, because the cursor on disk is one position: everything before it is settled.
        let mut places = Vec::new();
        while self
            .shipments
            .front()
            .is_some_and(|in_flight| in_flight.state == State::Settled)
        {
            if let Some(in_flight) = self.shipments.pop_front() {
                self.bytes -= in_flight.cargo.bytes.len();
                places.extend(in_flight.cargo.places);
            }
        }
        places
    }

    /// Empties the flight after its connection ended, and returns what has to be sent again, in order. Places of
    /// settled shipments are added to the cargo before them.
    pub(super) fn take_unsettled(&mut self) -> Vec<Cargo> {
        let mut left: Vec<Cargo> = Vec::new();
        for in_flight in std::mem::take(self).shipments {
            match (in_flight.state, left.last_mut()) {
                (State::Settled, Some(before)) => before.covers_also(in_flight.cargo.places),
                // A settled shipment at the front has been removed by `take_settled`.
                (State::Settled, None) => {}
                _ => left.push(in_flight.cargo),
            }
        }
        left
    }

    /// Returns the shipments that have no copy on disk, with their sequence numbers.
    pub(super) fn in_memory_only(&self) -> impl Iterator<Item = (u64, &Cargo)> {
        let in_flight = self.shipments.iter();
        // Copies of settled shipments on disk would be sent again after a restart.
        in_flight
            .filter(|in_flight| {
                in_flight.cargo.places.is_empty() && in_flight.sequence != 0 && in_flight.state != State::Settled
            })
            .map(|in_flight| (in_flight.sequence, &in_flight.cargo))
    }

    /// Records that a copy of the shipment is on disk, and releases its receipts. Returns whether the shipment was
    /// still in flight.
    pub(super) fn placed(&mut self, sequence: u64, place: Place) -> bool {
        match self.find(sequence) {
            Some(in_flight) => {
                in_flight.cargo.places = vec![(place, in_flight.cargo.envelopes)];
                in_flight.cargo.receipts = Vec::new();
                in_flight.cargo.since = None;
                // The copy is identical. But a copy that counts for no envelope would never be read again.
                in_flight.cargo.differs = in_flight.cargo.envelopes == 0;
                true
            }
            None => false,
        }
    }

    /// Releases the *taken* part of all receipts.
    pub(super) fn release_taken(&mut self) {
        let receipts = self
            .shipments
            .iter_mut()
            .flat_map(|in_flight| &mut in_flight.cargo.receipts);
        receipts.for_each(Receipt::release_taken);
    }

    /// Returns since when the oldest unwritten shipment has been in memory.
    pub(super) fn oldest_in_memory(&self) -> Option<Instant> {
        let unwritten = self.shipments.iter().filter(|in_flight| in_flight.state == State::Sent);
        unwritten.filter_map(|in_flight| in_flight.cargo.since).next()
    }

    /// Returns when the oldest envelope that is not in a socket arrived.
    pub(super) fn oldest_arrival(&self) -> Option<i64> {
        let unwritten = self.shipments.iter().find(|in_flight| in_flight.state == State::Sent);
        unwritten.map(|in_flight| in_flight.cargo.arrived)
    }

    /// Returns the number of messages that are not settled.
    pub(super) fn messages(&self) -> u32 {
        let unsettled = self
            .shipments
            .iter()
            .filter(|in_flight| in_flight.state != State::Settled);
        let messages = unsettled.map(|in_flight| in_flight.cargo.ends.len()).sum::<usize>();
        u32::try_from(messages).unwrap_or(u32::MAX)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shipments.is_empty()
    }

    /// Returns the number of bytes that are kept.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the envelopes and bytes that are not yet in a socket.
    pub(super) const fn waiting(&self) -> (u64, u64) {
        self.waiting
    }

    /// Returns whether any shipment has a copy on disk.
    pub(super) fn has_places(&self) -> bool {
        self.shipments
            .iter()
            .any(|in_flight| !in_flight.cargo.places.is_empty())
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

    /// Acknowledgements may come in any order. Places are settled in order, and after a break acknowledged shipments
    /// are not sent again.
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

    /// The two parts of a split cargo add up to the whole. On disk it is settled with the second part.
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
        // A gauge with three metrics gives three messages. It is in memory only.
        let gauge = Cargo {
            ends: [6, 12, 18].into(),
            ..cargo(1, None)
        };
        let (head, rest) = gauge.split(1);
        assert_eq!((head.envelopes, rest.envelopes, rest.ends.len()), (0, 1, 2));
        assert!(head.places.is_empty() && rest.places.is_empty());
    }

    /// Receipts are released when a shipment is in the socket or on disk.
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
