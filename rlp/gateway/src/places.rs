//! Places for streams: so many at all, so many of one caller, and so many selectors in all of a caller's streams.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use weir_auth::{Caller, Quota, Share};

use crate::config::Limits;

/// The places of a gateway.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    streams: Arc<Quota>,
    selectors: Arc<Quota>,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// None at all.
    All,
    /// None for this caller.
    OfOne,
    /// Not for so many selectors of this caller.
    Selectors,
}

impl Places {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.streams)),
            streams: Quota::new(limits.streams_per_caller),
            selectors: Quota::new(limits.selectors_per_caller),
        }
    }

    /// Takes a place for a stream of `caller` with so many selectors.
    pub(crate) fn take(&self, caller: &Caller, selectors: usize) -> Result<Place, Full> {
        Ok(Place {
            _all: Arc::clone(&self.all).try_acquire_owned().map_err(|_| Full::All)?,
            _stream: self.streams.take(caller, 1).ok_or(Full::OfOne)?,
            _selectors: self.selectors.take(caller, selectors).ok_or(Full::Selectors)?,
        })
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _all: OwnedSemaphorePermit,
    _stream: Share,
    _selectors: Share,
}

#[cfg(test)]
mod tests {
    use weir_auth::Scope;

    use super::*;

    /// One caller cannot take all places, nor all selectors with few of them; what is given back is free again.
    #[test]
    fn places_are_limited_thrice() {
        let places = Places::new(&Limits {
            streams: 3,
            streams_per_caller: 2,
            selectors_per_caller: 10,
            port: weir_net::PortLimits::of(1),
            selectors: 10,
            header_bytes: 0,
        });
        let [a, b, c] = ["a", "b", "c"].map(|name| Caller::new(name, Scope::Everything));
        let first = places.take(&a, 6).unwrap();
        assert_eq!(places.take(&a, 5).unwrap_err(), Full::Selectors);
        let _second = places.take(&a, 4).unwrap();
        assert_eq!(places.take(&a, 1).unwrap_err(), Full::OfOne);
        let third = places.take(&b, 10).unwrap();
        assert_eq!(places.take(&c, 1).unwrap_err(), Full::All);
        drop((first, third));
        let _fourth = places.take(&a, 6).unwrap();
        let _fifth = places.take(&c, 1).unwrap();
    }
}
