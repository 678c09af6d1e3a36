//! An open link, and how much is under way on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use weir_flow::Parcel;
use weir_rpc::ingress::{Link, Unsent};

/// How much may be under way with one peer without being acknowledged.
///
/// Acknowledgements are cumulative, so one consumer that stalls holds back those of everybody's envelopes behind its own.
/// Beyond this limit the link is ended in order and opened anew: the peer confirms what it received, and only the
/// assurance that it was handed on to that consumer is given up. Nothing is held back for it.
#[derive(Debug, Clone, Copy)]
pub struct InFlightLimit {
    /// Most envelopes.
    pub envelopes: u64,
    /// Most bytes.
    pub bytes: u64,
}

/// One open link of the task that hands out.
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
    /// It has ended, or is about to.
    Leaving,
}

impl Lane {
    /// A lane over `link`; notifies `renew` when it should be replaced.
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

    /// Begins to send; [`Lane::is_sent`] must be told how it went.
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
        self.under_way.settle_to(self.link.in_flight());
        if self.under_way.exceeds(self.limit) {
            self.state = State::Leaving;
            self.renew.notify_one();
        }
    }
}

/// Which of the idle lanes is to send next: of two picked at random, the one with less in flight.
pub(super) fn choose(lanes: &[Lane]) -> Option<usize> {
    let idle: Vec<usize> = (0..lanes.len()).filter(|&index| lanes[index].is_idle()).collect();
    match idle.as_slice() {
        [] => None,
        [only] => Some(*only),
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

/// Sizes of what was sent and is not settled. The link knows the envelopes; bytes are known by keeping the last sends.
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

    /// Of all that was sent, the last `in_flight` envelopes are not settled.
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

    /// Bytes follow the envelopes that the link still counts, oldest first.
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
