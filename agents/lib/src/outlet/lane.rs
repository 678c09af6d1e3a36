//! An open link and the amount that is in flight on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use weir_flow::Parcel;
use weir_rpc::ingress::{Link, Unsent};

/// How much may be in flight to one peer without an acknowledgement.
///
/// Acknowledgements are cumulative, so one stalled consumer delays those for all envelopes sent after its own. When a
/// link exceeds this limit, it is ended in order and a new one is opened. The peer then confirms what it received; what
/// is given up is only the assurance that the stalled consumer got its envelopes. Sending never waits for this limit.
#[derive(Debug, Clone, Copy)]
pub struct InFlightLimit {
    /// The largest number of envelopes.
    pub envelopes: u64,
    /// The largest number of bytes.
    pub bytes: u64,
}

/// An open link as the egress task sees it.
#[derive(Debug)]
pub(super) struct Lane {
    id: u64,
    link: Arc<Link>,
    limit: InFlightLimit,
    under_way: UnderWay,
    state: State,
    renew: Arc<Notify>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    /// A send waits for the transport.
    Busy,
    /// The link has ended or is about to end.
    Leaving,
}

impl Lane {
    /// Creates a lane over `link`. It notifies `renew` when the link should be replaced by a new one.
    pub(super) fn new(link: Arc<Link>, limit: InFlightLimit, renew: Arc<Notify>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            id,
            link,
            limit,
            under_way: UnderWay::default(),
            state: State::Idle,
            renew,
        }
    }

    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Starts to send `parcel`. The caller must report the result to [`Lane::is_sent`].
    pub(super) fn send(&mut self, parcel: Parcel) -> impl Future<Output = Result<(), Unsent>> + Send + 'static {
        self.state = State::Busy;
        self.under_way
            .add(parcel.batch.len() as u64, parcel.batch.byte_len() as u64);
        let link = Arc::clone(&self.link);
        async move { link.send(parcel).await }
    }

    pub(super) fn is_sent(&mut self, taken: bool) {
        if !taken || self.state == State::Leaving {
            self.state = State::Leaving;
            return;
        }
        self.state = State::Idle;
        // Only the count of envelopes comes from the link, so the sizes in bytes are settled in the order of the sends.
        self.under_way.settle_to(self.link.in_flight());
        if self.under_way.exceeds(self.limit) {
            self.state = State::Leaving;
            self.renew.notify_one();
        }
    }
}

/// Picks the lane that sends next: the one with less in flight of two idle lanes that are picked at random. Returns its
/// index.
pub(super) fn choose(lanes: &[Lane]) -> Option<usize> {
    let idle: Vec<usize> = (0..lanes.len()).filter(|&index| lanes[index].is_idle()).collect();
    match idle.as_slice() {
        [] => None,
        [only] => Some(*only),
        // Two at random and the better of them: several agents that all chose the least loaded doppler would overload
        // it together.
        several => {
            let first = rand::random_range(0..several.len());
            let second = (first + rand::random_range(1..several.len())) % several.len();
            let (first, second) = (several[first], several[second]);
            let in_flight = |index: usize| lanes[index].link.in_flight();
            Some(if in_flight(second) < in_flight(first) {
                second
            } else {
                first
            })
        }
    }
}

/// The sizes of the sends that are not settled. The link counts only envelopes, so the bytes of the last sends are kept
/// here.
#[derive(Debug, Default)]
struct UnderWay {
    sends: VecDeque<(u64, u64)>,
    envelopes: u64,
    bytes: u64,
}

impl UnderWay {
    fn add(&mut self, envelopes: u64, bytes: u64) {
        self.sends.push_back((envelopes, bytes));
        self.envelopes += envelopes;
        self.bytes += bytes;
    }

    /// Forgets the oldest sends until those that are left cover the last `in_flight` envelopes.
    fn settle_to(&mut self, in_flight: u64) {
        while let Some(&(envelopes, bytes)) = self.sends.front() {
            if self.envelopes - envelopes < in_flight {
                break;
            }
            self.sends.pop_front();
            self.envelopes -= envelopes;
            self.bytes -= bytes;
        }
    }

    const fn exceeds(&self, limit: InFlightLimit) -> bool {
        self.envelopes > limit.envelopes || self.bytes > limit.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of a send are settled when all of its envelopes are, oldest send first.
    #[test]
    fn bytes_are_settled_with_their_envelopes() {
        let mut under_way = UnderWay::default();
        for bytes in [1000, 200, 30] {
            under_way.add(10, bytes);
        }
        under_way.settle_to(30);
        assert_eq!((under_way.envelopes, under_way.bytes), (30, 1230));
        under_way.settle_to(20);
        assert_eq!((under_way.envelopes, under_way.bytes), (20, 230));
        under_way.settle_to(5);
        assert_eq!((under_way.envelopes, under_way.bytes), (10, 30));
        assert!(under_way.exceeds(InFlightLimit {
            envelopes: 10,
            bytes: 29
        }));
        assert!(under_way.exceeds(InFlightLimit {
            envelopes: 9,
            bytes: 30
        }));
        assert!(!under_way.exceeds(InFlightLimit {
            envelopes: 10,
            bytes: 30
        }));
        under_way.settle_to(0);
        assert_eq!((under_way.envelopes, under_way.bytes), (0, 0));
    }
}
