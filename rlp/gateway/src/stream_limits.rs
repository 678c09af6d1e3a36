//! The limits of streams: in total, per caller, and of selectors in all streams of a caller.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_auth::{Caller, Quota, Share};

use crate::config::RawLimits;

/// The limits of a gateway, and what is in use.
#[derive(Debug)]
pub(crate) struct StreamLimits {
    all: Arc<Semaphore>,
    streams: Arc<Quota>,
    selectors: Arc<Quota>,
}

/// The limit that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitReached {
    /// The total number of streams.
    Streams,
    /// The number of streams of one caller.
    StreamsOfCaller,
    /// The number of selectors in the streams of one caller.
    SelectorsOfCaller,
}

impl StreamLimits {
    pub(crate) fn new(limits: &RawLimits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.streams)),
            streams: Quota::new(limits.streams_per_caller),
            selectors: Quota::new(limits.selectors_per_caller),
        }
    }

    /// Takes a permit for a stream of `caller` with this number of selectors.
    pub(crate) fn take(&self, caller: &Caller, selectors: usize) -> Result<StreamPermit, LimitReached> {
        Ok(StreamPermit {
            _all: Arc::clone(&self.all)
                .try_acquire_owned()
                .map_err(|_| LimitReached::Streams)?,
            _stream: self.streams.take(caller, 1).ok_or(LimitReached::StreamsOfCaller)?,
            _selectors: self
                .selectors
                .take(caller, selectors)
                .ok_or(LimitReached::SelectorsOfCaller)?,
        })
    }
}

/// The permission for one stream. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct StreamPermit {
    _all: OwnedSemaphorePermit,
    _stream: Share,
    _selectors: Share,
}

#[cfg(test)]
mod tests {
    use weir_auth::Scope;

    use super::*;

    /// One caller can take neither all streams nor all of its selectors with few streams, and permits are free again
    /// when dropped.
    #[test]
    fn three_limits_hold() {
        let limits = StreamLimits::new(&RawLimits {
            streams: 3,
            streams_per_caller: 2,
            selectors_per_caller: 10,
            selectors: 10,
            ..RawLimits::default()
        });
        let [a, b, c] = ["a", "b", "c"].map(|name| Caller::new(name, Scope::Everything));
        let first = limits.take(&a, 6).unwrap();
        assert_eq!(limits.take(&a, 5).unwrap_err(), LimitReached::SelectorsOfCaller);
        let _second = limits.take(&a, 4).unwrap();
        assert_eq!(limits.take(&a, 1).unwrap_err(), LimitReached::StreamsOfCaller);
        let third = limits.take(&b, 10).unwrap();
        assert_eq!(limits.take(&c, 1).unwrap_err(), LimitReached::Streams);
        drop((first, third));
        let _fourth = limits.take(&a, 6).unwrap();
        let _fifth = limits.take(&c, 1).unwrap();
    }
}
