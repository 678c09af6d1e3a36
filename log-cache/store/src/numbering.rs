//! Where the sequence numbers of a source begin.
//!
//! Whoever reads by `seq > last` must never be told of a source, forgotten meanwhile, that it has nothing new. So what comes
//! back has to begin above where it was, with nobody left who knows where that was. What the store could know without
//! remembering every source it ever had, the highest number of all that were forgotten, says how much somebody else wrote.
//!
//! Time says nothing of anybody: a source begins at the microsecond, counted from 1970, in which it came up, and counts its
//! envelopes from there. It is forgotten only once the time has passed its last number, which takes as many microseconds
//! as it has envelopes: only one that wrote a million a second for as long as it was known is kept longer. Numbers stay
//! exact in the floating point of JSON's readers until 2255, and go on upwards over a restart of the log cache as far as
//! the machine's clock does.

use std::time::Instant;

use weir_service::clock::Clock;

/// Tells where numbers begin now; never goes back.
#[derive(Debug)]
pub(crate) struct Numbering {
    clock: Clock,
    /// The wall's time at `since`: it is asked once, because it may be set back.
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

    /// The first number of a source that comes up now.
    pub(crate) fn start(&self) -> u64 {
        let passed = self.clock.instant().duration_since(self.since).as_micros();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        self.first.saturating_add(passed).saturating_add(1)
    }
}
