//! The first sequence number of a source.
//!
//! A client that reads by `seq > last` must see the new rows of a source, even if the store has forgotten the source
//! since the last read. So a source that returns must start above its former numbers, which the store no longer knows.
//! The store could keep the greatest number of all forgotten sources, but that would reveal to a tenant how much
//! another one wrote.
//!
//! The time reveals nothing. So a source starts with the microsecond since 1970 in which it appears, and counts its
//! envelopes from there. It is forgotten only after the time has passed its last number. Only a source that has written
//! a million envelopes a second for its whole life has to be kept longer for that. The numbers are exact as doubles,
//! which JSON readers use, until 2255. They also grow across restarts of the log cache, as far as the machine's clock
//! does.

use std::time::Instant;

use weir_service::clock::Clock;

/// Returns first sequence numbers, which never decrease.
#[derive(Debug)]
pub(crate) struct Numbering {
    clock: Clock,
    /// The wall-clock time at `since`, in microseconds. It is read only once, because the wall clock may be set back.
    first: u64,
    since: Instant,
}

impl Numbering {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            first: u64::try_from(clock.now_nanos() / 1000).unwrap_or_default(),
            since: clock.instant(),
            clock,
        }
    }

    /// The first sequence number of a source that appears now.
    pub(crate) fn start(&self) -> u64 {
        let passed = self.clock.instant().duration_since(self.since).as_micros();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.first.saturating_add(passed).saturating_add(1)
    }
}
